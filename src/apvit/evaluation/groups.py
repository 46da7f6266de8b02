"""Accuracy per group of people, where a split says who is shown (RAF-DB: gender, race, age group).

What the annotators saw decides the group, not what people say of themselves. A gap between groups may come from the
network, from the labels, or from the expressions that each group happens to show; it is a reason to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .intervals import RESAMPLES, percentile_interval, resampled_means
from .predictions import Predictions

UNKNOWN = "unknown"
"""The group of faces whose annotators did not say; it takes no part in the gap."""
LEAST = 30
"""Groups of fewer faces are listed, but the largest gap is not searched among them."""


def attribute_figures(predictions: Predictions, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """For each attribute `values` {value: faces, accuracy, interval, mean_class_accuracy} and the largest `gap`.

    mean_class_accuracy is the mean recall over the classes that the group shows. `gap` is {higher, lower, difference,
    interval} for the two groups of at least `LEAST` faces that lie furthest apart (None for fewer than two such
    groups). Its interval holds those two groups fixed; picking the furthest pair makes the difference itself look
    large, the more so the more groups there are. Empty where the split carries no attributes.
    """
    if predictions.attributes is None or predictions.attribute_names is None:
        return {}
    return {
        name: _by_value(predictions, [row[i] for row in predictions.attributes], resamples, seed)
        for i, name in enumerate(predictions.attribute_names)
    }


def _by_value(predictions: Predictions, values: Sequence[str], resamples: int, seed: int) -> dict[str, Any]:
    column = np.array([value or UNKNOWN for value in values])
    figures: dict[str, dict[str, Any]] = {}
    for value in sorted(set(column.tolist())):
        those = predictions.select(column == value)
        right = those.correct
        samples = resampled_means(right[:, None], those.groups, resamples=resamples, seed=seed)
        recalls = [right[those.labels == label].mean() for label in np.unique(those.labels)]
        figures[value] = {
            "faces": len(those),
            "accuracy": float(right.mean()),
            "interval": percentile_interval(samples[:, 0]).tolist(),
            "mean_class_accuracy": float(np.mean(recalls)),
        }
    return {"values": figures, "gap": _gap(predictions, column, figures, resamples, seed)}


def _gap(
    predictions: Predictions, column: Any, figures: dict[str, dict[str, Any]], resamples: int, seed: int
) -> dict[str, Any] | None:
    large = {value: row["accuracy"] for value, row in figures.items() if row["faces"] >= LEAST and value != UNKNOWN}
    if len(large) < 2:
        return None
    higher, lower = max(large, key=large.__getitem__), min(large, key=large.__getitem__)
    if large[higher] == large[lower]:
        higher, lower = sorted(large)[:2]
    # The two groups are independent samples unless faces of both share a picture, so that all faces are drawn at once.
    both = predictions.select((column == higher) | (column == lower))
    first = column[(column == higher) | (column == lower)] == higher
    right = both.correct
    parts = np.stack([first & right, first, ~first & right, ~first], 1)
    sums = resampled_means(parts, both.groups, resamples=resamples, seed=seed)
    # A group of one video may be absent from a resample, which then says nothing about the gap.
    sums = sums[(sums[:, 1] > 0) & (sums[:, 3] > 0)]
    samples = sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3]
    return {
        "higher": higher,
        "lower": lower,
        "difference": large[higher] - large[lower],
        "interval": percentile_interval(samples).tolist(),
    }
