"""Whether a confidence of 0.8 is right 8 times in 10."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .metrics import CALIBRATION_BINS
from .predictions import Predictions


def calibration_bins(confidence: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """[N] the number of the equal bin of each confidence, as torchmetrics counts them (a bin begins at its number).

    A confidence of exactly 1 has a bin of its own, number `CALIBRATION_BINS`.
    """
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1, dtype=np.float32)
    return np.searchsorted(edges, confidence, side="right").astype(np.int64) - 1


def top_label_ece(confidence: npt.NDArray[np.float32] | npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error of the top probabilities [N]: |accuracy - confidence| of each bin, weighted by faces.

    right: [N] whether each face's first choice is right. As torchmetrics counts it, so also `ece` of
    `expression_metrics`.
    """
    bins = calibration_bins(confidence.astype(np.float32))
    return float(np.abs(np.bincount(bins, right - confidence.astype(np.float64))).sum() / len(right))


def reliability(predictions: Predictions) -> list[dict[str, Any]]:
    """For each equal bin of the top probability `low`, `high`, `faces`, their mean `confidence` and `accuracy`.

    `interval` is the 95 % interval of that accuracy (of `wilson`). Means and interval are None for a bin without
    faces. The mean of |accuracy - confidence|, weighted by faces, is the ECE.
    """
    confidence, right = predictions.probabilities.max(1), predictions.correct
    bins = np.minimum(calibration_bins(confidence), CALIBRATION_BINS - 1)
    rows = []
    for k in range(CALIBRATION_BINS):
        inside = bins == k
        rows.append(
            {
                "low": k / CALIBRATION_BINS,
                "high": (k + 1) / CALIBRATION_BINS,
                "faces": int(inside.sum()),
                "confidence": float(confidence[inside].mean(dtype=np.float64)) if inside.any() else None,
                "accuracy": float(right[inside].mean()) if inside.any() else None,
                "interval": wilson(int(right[inside].sum()), int(inside.sum())) if inside.any() else None,
            }
        )
    return rows


def wilson(hits: int, count: int) -> list[float]:
    """The 95 % interval of a share of `hits` in `count` independent draws (Wilson 1927).

    Unlike a bootstrap it is honest about a bin of three faces that are all right.
    """
    z, share = 1.959964, hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return [middle - half, middle + half]
