"""Face and Recognition: what they accept, when they are equal, what they write."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import apvit
from apvit.faces.pictures import PictureError
from apvit.recognition import Face, Recognition

GOOD: dict[str, Any] = {
    "box": (1, 2.5, 30, 40),
    "landmarks": np.arange(10, dtype=np.float64).reshape(5, 2),
    "detection_score": 0.75,
    "expression": "happiness",
    "probability": 0.7,
    "probabilities": {"neutral": 0.3, "happiness": 0.7},
    "patches": [0, 2, 5],
    "embedding": [0.5, -1.0],
}


def test_a_face_keeps_its_fields_in_their_types() -> None:
    face = Face(**GOOD)
    assert face.box == (1.0, 2.5, 30.0, 40.0)
    assert face.area == 29 * 37.5
    assert face.landmarks is not None
    assert (face.landmarks.dtype, face.landmarks.shape) == (np.float32, (5, 2))
    assert face.patches is not None
    assert face.patches.dtype == np.int64
    assert face.embedding is not None
    assert face.embedding.dtype == np.float32
    assert apvit.Face is Face


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"box": (1, 2, 1, 4)}, "x1 < x2"),
        ({"box": (1, 4, 2, 3)}, "y1 < y2"),
        ({"box": (1, 2, float("nan"), 4)}, "finite"),
        ({"box": (1, 2, float("inf"), 4)}, "finite"),
        ({"box": (1, 2, 3)}, "x1, y1, x2, y2"),
        ({"landmarks": np.zeros((4, 2))}, r"\[5, 2\], got \[4, 2\]"),
        ({"landmarks": np.full((5, 2), np.nan)}, "landmarks must be finite"),
        ({"detection_score": 1.5}, "detection_score must lie in 0..1, got 1.5"),
        ({"detection_score": float("nan")}, "detection_score"),
        ({"expression": "joy"}, "'joy' is not the most probable"),
        ({"expression": "neutral"}, "'neutral' is not the most probable"),
        ({"probability": 0.5}, "0.5 is not the highest"),
        ({"probability": float("nan")}, "not the highest"),
        ({"probabilities": {}}, "at least one"),
        (
            {"probabilities": {"joy": 0.3, "happiness": 0.7}},
            "probabilities: unknown expression 'joy'; known are neutral",
        ),
        ({"probabilities": {"neutral": 0.4, "happiness": 0.7}}, "sum to 1.1"),
        ({"probabilities": {"neutral": -0.3, "happiness": 0.7}}, "probability of neutral must lie in 0..1"),
        ({"probabilities": {"neutral": float("nan"), "happiness": 0.7}}, "probability of neutral"),
        ({"patches": [[0, 1]]}, "patches must be"),
        ({"patches": [1, 0]}, "ascending"),
        ({"patches": [1, 1]}, "ascending"),
        ({"patches": [-1, 0]}, "from 0"),
        ({"embedding": [[1.0]]}, r"\[D\], got \[1, 1\]"),
        ({"embedding": [np.inf]}, "embedding must be finite"),
    ],
)
def test_a_field_outside_its_range_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Face(**GOOD | change)


def test_rounding_above_one_is_cut() -> None:
    face = Face(**GOOD | {"probabilities": {"happiness": 1 + 5e-7, "neutral": 0.0}, "probability": 1.0})
    assert face.probabilities["happiness"] == 1.0


def test_an_abstained_face_keeps_its_probabilities() -> None:
    face = Face(**GOOD | {"expression": None})
    assert face.probability == 0.7
    assert face.to_dict()["expression"] is None
    assert face.to_dict()["probabilities"] == {"neutral": 0.3, "happiness": 0.7}


@pytest.mark.parametrize(
    ("change", "equal"),
    [
        ({}, True),
        ({"landmarks": None}, False),
        ({"landmarks": np.zeros((5, 2))}, False),
        ({"patches": [0, 2, 6]}, False),
        ({"box": (1, 2.5, 30, 41)}, False),
        ({"expression": None}, False),
        ({"embedding": None}, False),
    ],
)
def test_faces_are_equal_by_value(change: dict[str, Any], equal: bool) -> None:
    assert (Face(**GOOD) == Face(**GOOD | change)) is equal
    assert Face(**GOOD) != "a face"


def test_json_has_the_documented_keys() -> None:
    assert list(Face(**GOOD | {"embedding": None}).to_dict()) == [
        *("box", "landmarks", "detection_score", "expression", "probability", "probabilities")
    ]
    record = json.loads(json.dumps(Face(**GOOD).to_dict(), allow_nan=False))
    assert record["embedding"] == [0.5, -1.0]
    assert record["landmarks"] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    whole = Face(**GOOD | {"landmarks": None, "detection_score": None}).to_dict()
    assert (whole["landmarks"], whole["detection_score"]) == (None, None)


def test_a_recognition_is_faces_or_an_error() -> None:
    good = Recognition("a.jpg", 40, 50, [Face(**GOOD)])
    assert list(good.to_dict()) == ["source", "width", "height", "faces", "error", "warning"]
    assert good.to_dict()["error"] is None
    bad = Recognition("b.jpg", None, None, [], PictureError("one\nsentence"))
    nothing = {"source": "b.jpg", "width": None, "height": None, "faces": []}
    assert bad.to_dict() == {**nothing, "error": "one sentence", "warning": None}
    assert Recognition("b", None, None, [], OSError()).error_text == "OSError"
