"""Accuracy per group of people."""

from __future__ import annotations

import pytest

from apvit.evaluation.groups import attribute_figures


def test_by_hand(make_predictions) -> None:
    """40 women with 30 recognised, 40 men with 20, and two faces of whom nothing is said."""
    labels = [0, 1] * 41
    right = [True] * 30 + [False] * 10 + [True] * 20 + [False] * 20 + [True] * 2
    predicted = [label if r else 2 for label, r in zip(labels, right, strict=True)]
    who = [("female", "")] * 40 + [("male", "")] * 40 + [("", "")] * 2
    predictions = make_predictions(labels, predicted, attributes=who, attribute_names=("gender", "race"))
    figures = attribute_figures(predictions, resamples=400)
    gender = figures["gender"]
    assert {value: (row["faces"], row["accuracy"]) for value, row in gender["values"].items()} == {
        "female": (40, 0.75), "male": (40, 0.5), "unknown": (2, 1.0)
    }  # fmt: skip
    assert gender["values"]["male"]["mean_class_accuracy"] == pytest.approx(0.5)
    gap = gender["gap"]
    assert (gap["higher"], gap["lower"], gap["difference"]) == ("female", "male", 0.25)
    # The normal interval of a difference of two shares of 40: 0.25 -+ 1.96 sqrt(.75 .25 / 40 + .5 .5 / 40).
    assert gap["interval"] == pytest.approx([0.045, 0.455], abs=0.04)
    low, high = gender["values"]["female"]["interval"]
    assert low < 0.75 < high
    assert figures["race"]["values"]["unknown"]["faces"] == 82
    assert figures["race"]["gap"] is None


def test_small_groups_are_listed_but_not_compared(make_predictions) -> None:
    who = [("a",)] * 30 + [("b",)] * 29
    predictions = make_predictions([0] * 59, [0] * 30 + [1] * 29, attributes=who, attribute_names=("age",))
    figures = attribute_figures(predictions, resamples=100)["age"]
    assert figures["values"]["b"]["accuracy"] == 0
    assert figures["gap"] is None


def test_equal_groups_have_no_gap(make_predictions) -> None:
    who = [("a",), ("b",)] * 40
    predictions = make_predictions([0] * 80, [0, 0, 1, 1] * 20, attributes=who, attribute_names=("age",))
    gap = attribute_figures(predictions, resamples=200)["age"]["gap"]
    assert gap["difference"] == 0
    assert gap["interval"][0] < 0 < gap["interval"][1]


def test_a_video_is_drawn_as_one(make_predictions) -> None:
    """Groups of one video each: a resample without one of them says nothing about the gap, and is passed over."""
    who = [("a",)] * 30 + [("b",)] * 30
    predictions = make_predictions(
        [0] * 60, [0] * 60, attributes=who, attribute_names=("age",), groups=["v"] * 30 + ["w"] * 30
    )
    assert attribute_figures(predictions, resamples=100)["age"]["gap"]["interval"] == [0, 0]


def test_nothing_without_attributes(make_predictions) -> None:
    assert attribute_figures(make_predictions([0, 1], [0, 1])) == {}
