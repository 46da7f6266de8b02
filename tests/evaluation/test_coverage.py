"""Accuracy against coverage, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apvit.evaluation.coverage import aurc, coverage_curve


def test_curve_by_hand() -> None:
    confidence = np.array([0.96, 0.9, 0.8, 0.7, 0.62, 0.61, 0.5, 0.42, 0.41, 0.33], np.float32)
    right = np.array([1, 1, 1, 0, 1, 1, 0, 1, 0, 0], bool)
    curve = {row["min_probability"]: (row["coverage"], row["accuracy"]) for row in coverage_curve(confidence, right)}
    assert list(curve) == sorted(curve)
    assert curve[0.0] == (1.0, 0.6)
    assert curve[0.4] == (0.9, pytest.approx(6 / 9))
    assert curve[0.65] == (0.4, 0.75)
    assert curve[0.95] == (0.1, 1.0)
    # 0.7 of the faces, 7, are those of at least 0.5; half of them those of at least 0.62 (float32's lies just below).
    at_half = [value for least, value in curve.items() if 0.6199 <= least <= 0.62]
    assert at_half == [(0.5, 0.8)]
    assert curve[0.5] == (0.7, pytest.approx(5 / 7))


def test_no_face_is_that_sure() -> None:
    curve = coverage_curve(np.array([0.5, 0.4], np.float32), np.array([True, False]))
    assert curve[-1] == {"min_probability": 0.95, "coverage": 0.0, "accuracy": None}


@given(st.lists(st.tuples(st.floats(0.125, 1, width=32), st.booleans()), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_every_row_is_what_its_threshold_gives(faces: list[tuple[float, bool]]) -> None:
    confidence, right = np.array([p for p, _ in faces], np.float32), np.array([r for _, r in faces])
    curve = coverage_curve(confidence, right)
    for row in curve:
        answered = [hit for p, hit in zip(confidence.tolist(), right, strict=True) if p >= row["min_probability"]]
        assert row["coverage"] == pytest.approx(len(answered) / len(faces))
        assert row["accuracy"] == (pytest.approx(np.mean(answered)) if answered else None)
    for share in (1.0, 0.95, 0.9, 0.8, 0.7, 0.5):  # each is reached
        assert any(row["coverage"] >= share for row in curve)
    assert all(row["min_probability"] == round(row["min_probability"], 4) for row in curve)


@pytest.mark.parametrize(
    ("confidence", "right", "area"),
    [
        ([0.9, 0.8, 0.7], [1, 1, 1], 0),
        ([0.9, 0.8, 0.7], [1, 1, 0], 1 / 9),  # (0 + 0 + 1/3) / 3
        ([0.7, 0.8, 0.9], [1, 1, 0], (1 + 1 / 2 + 1 / 3) / 3),
        ([0.8, 0.8, 0.7], [1, 0, 1], (1 / 2 + 1 / 2 + 1 / 3) / 3),
        ([0.8, 0.8, 0.7], [0, 1, 1], (1 / 2 + 1 / 2 + 1 / 3) / 3),
    ],
)
def test_aurc_by_hand(confidence: list[float], right: list[int], area: float) -> None:
    assert aurc(np.array(confidence, np.float32), np.array(right, bool)) == pytest.approx(area)
