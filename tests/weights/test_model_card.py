"""The card as a page for people."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from apvit.cli.models import _page
from apvit.weights import find_weights, list_weights, read_card
from apvit.weights.model_card import model_page

DOCS = Path(__file__).parents[2] / "docs" / "models"
PER_CLASS = {
    "happiness": {"faces": 900, "recall": 0.94, "precision": 0.93, "f1": 0.935},
    "sadness": {"faces": 350, "recall": 0.7, "precision": 0.7, "f1": 0.7},
    "contempt": {"faces": 16, "recall": 0.1875, "precision": 1.0, "f1": 0.316},
}
MEASURED = {"dataset": "d", "split": "valid", "faces": 1266, "accuracy": 0.9, "per_class": PER_CLASS}
CALIBRATION = {
    "temperature": 1.2345,
    "ece_before": 0.0646,
    "ece_cross_fitted": 0.0171,
    "ece_floor": 0.0134,
    "folds": 5,
    "fold_temperatures": [1.24, 1.22, 1.23, 1.25, 1.235],
}
CONFUSION = [[880, 20, 0], [105, 245, 0], [12, 1, 3]]
COVERAGE = [
    {"min_probability": 0.0, "coverage": 1.0, "accuracy": 0.87},
    {"min_probability": 0.7, "coverage": 0.85, "accuracy": 0.929},
    {"min_probability": 0.7312, "coverage": 0.8003, "accuracy": 0.941},
    {"min_probability": 0.8, "coverage": 0.71, "accuracy": 0.957},
    {"min_probability": 0.9, "coverage": 0.5, "accuracy": 0.975},
    {"min_probability": 0.99, "coverage": 0.0, "accuracy": None},
]


def page(*, temperature: float = 1.0, weights: str = "some.weights", seen: dict | None = None, **measured) -> str:
    card = replace(read_card("apvit_tiny"), metrics=({**MEASURED, **measured},), temperature=temperature)
    card = replace(card, provenance={**card.provenance, "faces": seen or {}})
    return model_page("some.weights", card, {"size": "small"}, weights)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ({}, "Accuracy **0.9000**. These are validation figures: choices were made on these faces."),
        ({}, "| sadness | 350 | 0.700 | 0.700 | 0.700 |"),
        (
            {},
            "It is weak at:\n\n- **contempt**: recall 0.19.\n- **sadness**: recall 0.70.\n\nOf contempt there are few",
        ),
        (
            {"confusion": CONFUSION},
            "- **contempt**: recall 0.19; of 16 faces 12 are taken for happiness and 1 are taken for sadness.\n"
            "- **sadness**: recall 0.70; of 350 faces 105 are taken for happiness.",
        ),
        (
            {"agreement": {"happiness": 0.91, "sadness": 0.66}},
            "- **contempt**: recall 0.19.\n- **sadness**: recall 0.70; annotators gave it 66 % of their votes.",
        ),
        ({"agreement": {"happiness": 0.91, "sadness": 0.66}}, "agree most on happiness, which they gave 91 % of"),
        (
            {"seen": {"contempt": 125, "sadness": 3014}},
            "- **contempt**: recall 0.19; it leads the targets of 125 of 3,139 training faces.",
        ),
        ({"ece": 0.0646}, "calibration error (ECE, 15 bins) **0.0646**"),
        (
            {"intervals": {"accuracy": [0.88, 0.92], "per_class": {"sadness": {"recall": [0.65, 0.749]}}}},
            "Accuracy **0.9000** (0.880 to 0.920). In brackets are 95 % intervals over faces",
        ),
        (
            {"intervals": {"accuracy": [0.88, 0.92], "per_class": {"sadness": {"recall": [0.65, 0.749]}}}},
            "| sadness | 350 | 0.700 (0.650 to 0.749) | 0.700 | 0.700 |",
        ),
        (
            {"confusion": CONFUSION},
            "|  | happiness | sadness | contempt |\n| --- | --- | --- | --- |\n| happiness | 880 | 20",
        ),
        ({"coverage": COVERAGE}, "| 0.7312 | 80.0 % | 94.1 % |\n| 0.8 | 71.0 % | 95.7 % |"),
        ({"coverage": COVERAGE}, "| 0.99 | 0.0 % | – |"),
        (
            {"coverage": COVERAGE},
            "- answers 80.0 % of faces, 94.1 % right: `--min-probability 0.7312`\n- answers 71.0 %",
        ),
        ({"coverage": COVERAGE}, "- answers 71.0 % of faces, 95.7 % right: `--min-probability 0.8`\n\n"),
        ({}, "after `apvit data prepare d SOURCE prepared/d`:"),
        ({"protocol": "majority"}, "after `apvit data prepare d SOURCE prepared/d --protocol majority`:"),
        ({}, "```sh\napvit evaluate --weights some.weights --data prepared/d --split valid\n```"),
        ({"weights": "my faces/best.safetensors"}, "--weights 'my faces/best.safetensors' --data"),
        ({}, "- Its probabilities are not calibrated: they say which face is surer"),
        ({"temperature": 1.2}, "- Its probabilities were calibrated on one set of faces."),
        ({}, "- It was trained on ferplus,"),
        ({}, "- It expects faces warped to ferplus-48-v1;"),
        ({}, "- No figure on test faces is given"),
    ],
)
def test_what_a_measurement_says(measured, expected):
    assert expected in page(**measured)


def test_calibration_publishes_the_cross_fitted_error():
    """Not the one on the faces that the temperature was fitted on, which is named as what it is."""
    text = page(calibration=CALIBRATION, ece=0.0103, temperature=1.2345)
    assert "Accuracy **0.9000**, calibration error (ECE) **0.0171**." in text
    rows = [line for line in text.splitlines() if line.startswith("|") and "ECE" in line]
    assert [line.split("|")[2].strip(" *") for line in rows] == ["0.0646", "0.0171", "0.0134", "0.0103"]
    assert "| **ECE, cross-fitted over 5 folds** | **0.0171** |" in rows
    assert rows[-1].startswith("| ECE on the faces that the temperature was fitted on")
    assert "| temperatures, each fitted on all folds but one | 1.2200 to 1.2500 |" in text


def test_a_measurement_of_few_words():
    card = replace(read_card("apvit_tiny"), metrics=({"split": "test", "faces": 10},))
    text = model_page("some.weights", card, {}, "some.weights")
    assert "### On test, 10 faces" in text
    assert "apvit evaluate" not in text


def test_only_validation_is_called_validation():
    assert "validation figures" not in page(split="test")
    assert "No figure on test faces" not in page(split="test")
    assert "weak at" not in page(per_class={"happiness": PER_CLASS["happiness"]})


def test_a_class_without_faces_has_no_recall():
    absent = {"faces": 0, "recall": 0.0, "precision": 0.5, "f1": 0.0}
    text = page(per_class={**PER_CLASS, "fear": absent}, intervals={"per_class": {"fear": {"recall": None}}})
    assert "| fear | 0 | – | 0.500 | 0.000 |" in text
    assert "**fear**" not in text


def test_use_limits_and_licence_are_on_the_page():
    text = page()
    for part in ("AI Act", "An expression is not an emotion", "FER2013 images", "| size | small |", "not calibrated"):
        assert part in text
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    wanted = ["Intended and forbidden use", "How good it is", "Limits", "Where it comes from", "Licence"]
    assert headings == [f"## {heading}" for heading in wanted]


@pytest.mark.parametrize("name", list_weights())
def test_the_published_cards_are_those_in_the_files(name):
    text = (DOCS / f"{name}.md").read_text()
    assert text == _page(name), f"make it anew: apvit models {name} > docs/models/{name}.md"
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (DOCS / link).is_file(), link


def test_a_file_that_only_has_a_bundled_name_has_no_page_beside_it(tmp_path: Path):
    copy = tmp_path / find_weights("apvit_tiny").name
    shutil.copyfile(find_weights("apvit_tiny"), copy)
    assert "robustness.md" in _page("apvit_tiny")
    text = _page(str(copy))
    assert "robustness.md" not in text
    assert f"apvit evaluate --weights {copy} " in text
