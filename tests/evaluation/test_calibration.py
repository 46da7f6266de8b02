"""Reliability by hand."""

from __future__ import annotations

import numpy as np
import pytest

from apvit.evaluation.calibration import calibration_bins, reliability, top_label_ece, wilson
from apvit.evaluation.evaluate import figures_of


def test_by_hand(make_predictions) -> None:
    predictions = make_predictions([0, 0, 1, 1], [0, 1, 1, 1], confidence=[0.9, 0.9, 0.5, 0.5])
    filled = [row for row in reliability(predictions) if row["faces"]]
    assert [(row["faces"], row["accuracy"]) for row in filled] == [(2, 1.0), (2, 0.5)]
    assert [row["confidence"] for row in filled] == pytest.approx([0.5, 0.9])
    assert [(row["low"], row["high"]) for row in filled] == [(7 / 15, 8 / 15), (13 / 15, 14 / 15)]
    # The weighted mean of the gaps is the ECE: (|1 - 0.5| + |0.5 - 0.9|) / 2.
    assert figures_of(predictions)["ece"] == pytest.approx(0.45, abs=1e-6)


def test_ece_by_hand_and_as_torchmetrics_has_it(make_predictions) -> None:
    # One bin has accuracy 1/2 at confidence 0.9, the other 1 at 0.5: (2 * 0.4 + 2 * 0.5) / 4.
    confidence = np.array([0.9, 0.9, 0.5, 0.5], np.float32)
    assert top_label_ece(confidence, np.array([1, 0, 1, 1], bool)) == pytest.approx(0.45)
    random = np.random.default_rng(0)
    sure, said = random.uniform(0.4, 1, 300), random.integers(0, 3, 300)
    predictions = make_predictions([0] * 300, said.tolist(), confidence=[*sure[:-1], 1.0])
    ece = top_label_ece(predictions.probabilities.max(1), predictions.correct)
    assert ece == pytest.approx(figures_of(predictions)["ece"], abs=1e-6)


def test_every_confidence_has_one_bin(make_predictions) -> None:
    predictions = make_predictions([0] * 5, [0] * 5, confidence=[0.34, 0.4, 0.6, 0.999, 1.0])
    rows = reliability(predictions)
    assert sum(row["faces"] for row in rows) == 5
    assert rows[-1]["faces"] == 2
    assert rows[0] == {
        "low": 0, "high": 1 / 15, "faces": 0, "confidence": None, "accuracy": None, "interval": None
    }  # fmt: skip
    assert calibration_bins(np.array([0, 0.2, 1], np.float32)).tolist() == [0, 3, 15]


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    # Brown, Cai and DasGupta 2001 give these ends for Wilson's interval.
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (1, 1, 0.2065, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilson(hits: int, count: int, low: float, high: float) -> None:
    assert wilson(hits, count) == pytest.approx([low, high], abs=1e-4)
