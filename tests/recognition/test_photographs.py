"""What the bundled weights say about real photographs."""

from __future__ import annotations

from pathlib import Path

import pytest

import apvit


@pytest.fixture(scope="module")
def recognizer() -> apvit.Recognizer:
    return apvit.Recognizer(device="cpu")


@pytest.mark.parametrize(
    ("name", "expression"), [("portrait_smiling.jpg", "happiness"), ("portrait_neutral.jpg", "neutral")]
)
def test_one_face_in_each_portrait(recognizer: apvit.Recognizer, shared: Path, name: str, expression: str) -> None:
    (face,) = recognizer(shared / "photos" / name)
    assert face.expression == expression
    assert face.probability > 0.5


def test_the_astronaut_is_happy(recognizer: apvit.Recognizer, photographs: dict[str, Path]) -> None:
    (face,) = recognizer(photographs["astronaut"])
    assert face.expression == "happiness"


def test_one_face_in_grace_hoppers_photograph(recognizer: apvit.Recognizer, photographs: dict[str, Path]) -> None:
    (face,) = recognizer(photographs["grace_hopper"])
    assert face.detection_score is not None
    assert face.detection_score > 0.9


def test_no_face_in_the_cats(recognizer: apvit.Recognizer, photographs: dict[str, Path]) -> None:
    assert recognizer(photographs["cat"]) == []
