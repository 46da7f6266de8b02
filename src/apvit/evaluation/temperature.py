"""The temperature at which confidences can be read as frequencies, and how well they then can.

One number divides the logits (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2): every face
keeps its order of expressions, and only how sure they sound changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .calibration import top_label_ece
from .errors import EvaluationError
from .intervals import cluster
from .predictions import Predictions

FOLDS = 5
DRAWS = 200
"""Label draws whose mean ECE is the floor; it moves by about 0.0003 from seed to seed at 3,000 faces."""
LOWEST, HIGHEST = 0.05, 20.0
"""A network whose best temperature lies outside has nothing to calibrate."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def calibration_figures(predictions: Predictions, temperature: float, *, seed: int = 0) -> dict[str, Any]:
    """What a temperature fitted on these predictions is, and what it brings to faces that it was not fitted on.

    predictions: made at `temperature`, that of the card
    temperature: fitted on all faces; ece_before: top-label ECE of the predictions as they are; ece_cross_fitted: of
    probabilities whose temperature was fitted on the other folds; ece_floor: see `ece_floor`, of these confidences;
    folds, fold_temperatures, seed: how it was cross-fitted. All plain JSON values. Raises EvaluationError as
    `fit_temperature` and `assign_folds` do.
    """
    logits, labels = recover_logits(predictions.probabilities, temperature), predictions.labels
    crossed, temperatures = cross_fit(logits, labels, assign_folds(predictions.groups, seed=seed))
    confidence = crossed.max(1)
    return {
        "temperature": fit_temperature(logits, labels),
        "ece_before": top_label_ece(predictions.probabilities.max(1), predictions.correct),
        "ece_cross_fitted": top_label_ece(confidence, predictions.correct),
        "ece_floor": ece_floor(confidence, seed=seed),
        "folds": FOLDS,
        "fold_temperatures": temperatures,
        "seed": seed,
    }


def recover_logits(probabilities: npt.NDArray[np.float32], temperature: float) -> Floats:
    """[N, K] the logits whose softmax at `temperature` the probabilities are, up to a constant for each face."""
    # What float32 rounded to 0 would be minus infinity.
    tiny = float(np.finfo(np.float32).tiny)
    return np.log(np.maximum(probabilities.astype(np.float64), tiny)) * temperature


def soften(logits: Floats, temperature: float) -> Floats:
    """[N, K] softmax of the logits divided by `temperature`."""
    powers = np.exp((logits - logits.max(1, keepdims=True)) / temperature)
    return np.asarray(powers / powers.sum(1, keepdims=True))


def fit_temperature(logits: Floats, labels: Integers) -> float:
    """The temperature that minimises the mean negative log-likelihood of labels [N] under logits [N, K].

    In 1 / temperature that is convex, so that its one minimum is where the slope changes sign. Raises EvaluationError
    where that is not between `LOWEST` and `HIGHEST`.
    """
    own = logits[np.arange(len(labels)), labels]

    def slope(inverse: float) -> float:
        return float(((soften(logits, 1 / inverse) * logits).sum(1) - own).mean())

    low, high = 1 / HIGHEST, 1 / LOWEST
    if slope(low) >= 0:
        raise EvaluationError(
            f"no temperature up to {HIGHEST:g} fits these {len(labels):,} faces, as the confidences say nothing about "
            "the labels; look at what the weights and the labels are"
        )
    if slope(high) <= 0:
        raise EvaluationError(
            f"no temperature from {LOWEST:g} fits these {len(labels):,} faces, as (nearly) all are recognised; "
            "calibrate on more faces, which the weights were not trained on"
        )
    for _ in range(50):
        middle = (low * high) ** 0.5
        if slope(middle) < 0:
            low = middle
        else:
            high = middle
    return float((low * high) ** -0.5)


def assign_folds(groups: Sequence[str], *, folds: int = FOLDS, seed: int = 0) -> Integers:
    """[N] the fold of each face, 0 to folds - 1: random, about equally large, and one for all faces of a group.

    Raises EvaluationError for fewer groups than folds.
    """
    numbers, count = cluster(groups)
    if count < folds:
        raise EvaluationError(f"{folds} folds need at least as many independent faces, got {count}; use more data")
    sizes = np.bincount(numbers, minlength=count)
    filled, fold_of = np.zeros(folds, np.int64), np.zeros(count, np.int64)
    for group in np.random.default_rng(seed).permutation(count):
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += sizes[group]
    return fold_of[numbers]


def cross_fit(logits: Floats, labels: Integers, folds: Integers) -> tuple[Floats, list[float]]:
    """[N, K] probabilities, each fold's at the temperature fitted on all others, and these temperatures."""
    probabilities, temperatures = np.empty_like(logits), []
    for fold in range(int(folds.max()) + 1):
        held = folds == fold
        temperatures.append(fit_temperature(logits[~held], labels[~held]))
        probabilities[held] = soften(logits[held], temperatures[-1])
    return probabilities, temperatures


def ece_floor(confidence: Floats, *, draws: int = DRAWS, seed: int = 0) -> float:
    """The mean top-label ECE of a perfectly calibrated model with these confidences [N].

    It is not 0: of faces that are right 8 times in 10, not exactly 8 in 10 are. In each draw a face is right with the
    probability that its confidence states.
    """
    random = np.random.default_rng(seed)
    return float(
        np.mean([top_label_ece(confidence, random.random(len(confidence)) < confidence) for _ in range(draws)])
    )
