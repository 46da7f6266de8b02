"""Bootstrap intervals: how far a figure would move on another sample of faces.

Faces that share a group (a subject, a video, equal pixels) are drawn together, as they are not independent. Intervals
are percentiles of the resampled figure (Efron & Tibshirani 1993, chapter 13). They say nothing about another training
run of the same recipe, which moves a figure too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .calibration import calibration_bins
from .predictions import Predictions

LEVEL = 0.95
RESAMPLES = 1000

Floats = npt.NDArray[np.float64]


def cluster(groups: Sequence[str]) -> tuple[npt.NDArray[np.int64], int]:
    """[N] the number of each face's group, and how many groups there are."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], np.int64), len(numbers)


def draws(count: int, resamples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """`resamples` times how often each of `count` groups is drawn, [count], drawing `count` with replacement."""
    random = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(random.integers(0, count, count), minlength=count)


def percentile_interval(samples: npt.ArrayLike, level: float = LEVEL) -> Floats:
    """The central interval of `samples` [B, ...] that holds `level` of them: [2, ...], low and high."""
    tail = (1 - level) / 2
    return np.asarray(np.quantile(np.asarray(samples, np.float64), (tail, 1 - tail), axis=0))


def resampled_means(values: npt.ArrayLike, groups: Sequence[str], *, resamples: int, seed: int) -> Floats:
    """[resamples, M] means over resampled faces of `values` [N, M]; one draw serves all columns, so they are paired."""
    values = np.asarray(values, np.float64)
    numbers, count = cluster(groups)
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, numbers, values)
    sizes = np.bincount(numbers, minlength=count)
    return np.stack([drawn @ sums / (drawn @ sizes) for drawn in draws(count, resamples, seed)])


def metric_intervals(predictions: Predictions, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """Intervals of the figures of `expression_metrics`: {accuracy: [low, high], ..., per_class: {name: {recall, f1}}}.

    The means run over the classes that occur in each resample, and a class that never occurs has the interval None.
    """
    classes = len(predictions.space)
    numbers, count = cluster(predictions.groups)
    cells = predictions.labels * classes + predictions.predicted
    bins, gaps = _calibration(predictions)
    names = ("accuracy", "mean_class_accuracy", "macro_f1", "ece")
    samples = {name: np.zeros(resamples) for name in names}
    recall, f1 = np.zeros((2, resamples, classes))
    for i, drawn in enumerate(draws(count, resamples, seed)):
        weight = drawn[numbers]
        confusion = np.bincount(cells, weight, classes * classes).reshape(classes, classes)
        hits, truth, said = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
        occurs = truth > 0
        recall[i] = np.where(occurs, hits / np.maximum(truth, 1), np.nan)
        f1[i] = np.where(occurs, 2 * hits / np.maximum(truth + said, 1), np.nan)
        samples["accuracy"][i] = hits.sum() / truth.sum()
        samples["mean_class_accuracy"][i] = recall[i][occurs].mean()
        samples["macro_f1"][i] = f1[i][occurs].mean()
        samples["ece"][i] = np.abs(np.bincount(bins, weight * gaps)).sum() / truth.sum()
    per_class = {
        name: {"recall": _interval(recall[:, k]), "f1": _interval(f1[:, k])}
        for k, name in enumerate(predictions.space.expressions)
    }
    return {**{name: _interval(samples[name]) for name in names}, "per_class": per_class}


def _calibration(predictions: Predictions) -> tuple[npt.NDArray[np.int64], Floats]:
    """Each face's bin, and how much its confidence exceeds its being right."""
    confidence = predictions.probabilities.max(1)
    return calibration_bins(confidence), confidence.astype(np.float64) - predictions.correct


def _interval(samples: Floats) -> list[float] | None:
    known = samples[~np.isnan(samples)]
    return [float(v) for v in percentile_interval(known)] if len(known) else None
