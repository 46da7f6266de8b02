"""Everything that `apvit evaluate` says about one weight file on one split."""

from __future__ import annotations

from typing import Any

from .calibration import reliability
from .doctor import diagnose_labels
from .evaluate import figures_of
from .groups import attribute_figures
from .intervals import RESAMPLES, metric_intervals
from .overlap import Neighbours, overlap_figures
from .predictions import Predictions


def examine(
    predictions: Predictions, neighbours: Neighbours, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """The figures of `evaluate` and, as plain JSON values:

    intervals (of `metric_intervals`, which `resamples` and `seed` belong to); dropped {expression: faces left out};
    predicted_outside_labels (faces predicted as an expression that the data's label space lacks, all counted wrong);
    reliability; shared_faces (of `overlap_figures`); attributes (of `attribute_figures`); label_order (what
    `diagnose_labels` found, or None).
    """
    figures = figures_of(predictions)
    diagnosis = diagnose_labels(figures["confusion"], predictions.space)
    return {
        **figures,
        "intervals": metric_intervals(predictions, resamples=resamples, seed=seed),
        "resamples": resamples,
        "seed": seed,
        "dropped": predictions.dropped,
        "predicted_outside_labels": predicted_outside(predictions),
        "reliability": reliability(predictions),
        "shared_faces": overlap_figures(predictions, neighbours, resamples=resamples, seed=seed),
        "attributes": attribute_figures(predictions, resamples=resamples, seed=seed),
        "label_order": None if diagnosis is None else diagnosis.to_dict(),
    }


def predicted_outside(predictions: Predictions) -> int:
    """Faces predicted as an expression that the data's label space lacks, so that they cannot be right."""
    known = [name in predictions.data_space.expressions for name in predictions.space.expressions]
    return sum(not known[label] for label in predictions.predicted)
