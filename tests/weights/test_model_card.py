"""The card as a page for people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from apvit.cli.models import _page
from apvit.weights import list_weights, read_card
from apvit.weights.model_card import model_page

DOCS = Path(__file__).parents[2] / "docs" / "models"
PER_CLASS = {
    "happiness": {"faces": 900, "recall": 0.94, "precision": 0.93, "f1": 0.935},
    "sadness": {"faces": 350, "recall": 0.7, "precision": 0.7, "f1": 0.7},
    "contempt": {"faces": 16, "recall": 0.1875, "precision": 1.0, "f1": 0.316},
}
MEASURED = {"dataset": "d", "split": "valid", "faces": 1266, "accuracy": 0.9, "per_class": PER_CLASS}


def page(**measured) -> str:
    card = replace(read_card("apvit_tiny"), metrics=({**MEASURED, **measured},))
    return model_page("some.weights", card, {"size": "small"})


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ({}, "Accuracy **0.9000**. These are validation figures: choices were made on these faces."),
        ({}, "| sadness | 350 | 0.700 | 0.700 | 0.700 |"),
        ({}, "It is weak at contempt (0.19), sadness (0.70), by recall. Of contempt there are few faces"),
        ({"ece": 0.0646}, "calibration error (ECE, 15 bins) **0.0646**"),
        (
            {"calibration": {"ece_cross_fitted": 0.007, "folds": 5, "ece_floor": 0.0134}},
            "**0.0070** cross-fitted over 5 folds, where perfect calibration would measure 0.0134",
        ),
        (
            {"confusion": [[9, 1, 0], [2, 7, 0], [0, 1, 1]]},
            "|  | happiness | sadness | contempt |\n| --- | --- | --- | --- |\n| happiness | 9 | 1 | 0 |",
        ),
        (
            {
                "coverage": [
                    {"min_probability": 0.7, "coverage": 0.8, "accuracy": 0.929},
                    {"min_probability": 0.99, "coverage": 0.0, "accuracy": None},
                ]
            },
            "| 0.700 | 80% | 92.9% |\n| 0.990 | 0% | – |",
        ),
    ],
)
def test_what_a_measurement_says(measured, expected):
    assert expected in page(**measured)


def test_only_validation_is_called_validation():
    assert "validation figures" not in page(split="test")
    assert "weak at" not in page(per_class={"happiness": PER_CLASS["happiness"]})


def test_use_limits_and_licence_are_on_the_page():
    text = page()
    for part in ("AI Act", "An expression is not an emotion", "FER2013 images", "| size | small |", "not calibrated"):
        assert part in text


@pytest.mark.parametrize("name", list_weights())
def test_the_published_cards_are_those_in_the_files(name):
    assert (DOCS / f"{name}.md").read_text() == _page(name), "make it anew with `apvit models`"
