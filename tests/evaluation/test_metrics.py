"""Figures against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from apvit.evaluation import expression_metrics
from apvit.expressions import LabelSpace

SPACE = LabelSpace("three", ("neutral", "happiness", "anger"))


def probabilities(predicted: list[int], confidence: float = 0.8) -> np.ndarray:
    rest = (1 - confidence) / 2
    return np.where(np.eye(3)[predicted] > 0, confidence, rest).astype(np.float32)


def test_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2])
    figures = expression_metrics(probabilities([0, 0, 1, 1, 1, 0]), labels, SPACE)
    assert figures["faces"] == 6
    assert figures["accuracy"] == pytest.approx(4 / 6)
    assert figures["mean_class_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    # F1: neutral 2*2/(3+3), happiness 2*2/(3+2), anger 0
    assert figures["macro_f1"] == pytest.approx((4 / 6 + 4 / 5 + 0) / 3)
    assert figures["ece"] == pytest.approx(0.8 - 4 / 6, abs=1e-6)
    assert figures["confusion"] == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert figures["per_class"]["happiness"] == pytest.approx(
        {"faces": 2, "recall": 1, "precision": 2 / 3, "f1": 4 / 5}
    )


def test_classes_that_do_not_occur_are_left_out_of_the_means():
    figures = expression_metrics(probabilities([0, 1]), np.array([0, 1]), SPACE)
    assert figures["mean_class_accuracy"] == 1
    assert figures["macro_f1"] == 1


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [((2, 2), [0, 1], r"\[2, 3\], got \[2, 2\]"), ((1, 3), [0, 1], r"\[2, 3\]"), ((0, 3), [], "no labelled face")],
)
def test_refuses(shape, labels, message):
    with pytest.raises(ValueError, match=message):
        expression_metrics(np.zeros(shape, np.float32), np.array(labels, np.int64), SPACE)
