"""What leaving the unsure faces open buys: accuracy on the faces that are answered, against how many these are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

THRESHOLDS = (0.0, *(step / 20 for step in range(6, 20)))
"""0 (every face is answered), then 0.3 to 0.95."""
COVERAGES = (0.95, 0.9, 0.8, 0.7, 0.5)

Confidence = npt.NDArray[np.float32] | npt.NDArray[np.float64]


def coverage_curve(confidence: Confidence, right: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
    """For ascending `min_probability`, `coverage` and `accuracy` of the faces whose top probability is at least that.

    confidence, right: [N] top probabilities and whether each is the label. The thresholds are `THRESHOLDS` and those,
    to four digits, at which `COVERAGES` of the faces or a little more are answered. Accuracy is None where no face is.
    """
    ranked = np.sort(confidence)[::-1]
    # Rounded down, so that who types the four digits gets the coverage beside them.
    chosen = {math.floor(float(ranked[math.ceil(share * len(ranked)) - 1]) * 1e4) / 1e4 for share in COVERAGES}
    rows = []
    for least in sorted({*THRESHOLDS, *chosen}):
        answered = confidence.astype(np.float64) >= least
        accuracy = float(right[answered].mean()) if answered.any() else None
        rows.append({"min_probability": least, "coverage": float(answered.mean()), "accuracy": accuracy})
    return rows


def aurc(confidence: Confidence, right: npt.NDArray[np.bool_]) -> float:
    """Area under the risk-coverage curve: the error rate of the n surest faces, averaged over n = 1 to N.

    0 where all are right; smaller is better. Geifman & El-Yaniv 2017, "Selective Classification for Deep Neural
    Networks". Of equally sure faces each counts as their mean, so that their order does not matter.
    """
    _, level, count = np.unique(-confidence, return_inverse=True, return_counts=True)
    wrong = (np.bincount(level, ~right) / count)[np.sort(level)]
    return float((wrong.cumsum() / np.arange(1, len(wrong) + 1)).mean())
