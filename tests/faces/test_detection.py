"""What create_detector refuses; the defaults the benchmark measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from apvit.faces import mtcnn, yunet
from apvit.faces.detection import DEFAULT_MIN_FACE, DETECTORS, DetectorError, create_detector

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_face": 0}, "min_face must be a finite number of at least 1 pixel, not 0"),
        ({"min_face": -24}, "min_face must be a finite number of at least 1 pixel, not -24"),
        ({"min_face": float("nan")}, "min_face must be a finite number of at least 1 pixel, not nan"),
        ({"min_face": float("inf")}, "min_face must be a finite number of at least 1 pixel, not inf"),
        ({"min_score": -0.1}, "min_score must lie between 0 and 1, not -0.1"),
        ({"min_score": 1.5}, "min_score must lie between 0 and 1, not 1.5"),
        ({"min_score": float("nan")}, "min_score must lie between 0 and 1, not nan"),
    ],
)
def test_options_out_of_range(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DetectorError, match=message):
        create_detector(name, **options)


@pytest.mark.parametrize(
    ("name", "meant"), [("", ""), ("MTCNN", r" \(did you mean 'mtcnn'\?\)"), ("retinaface", ""), ("none", "")]
)
def test_unknown_detectors(name: str, meant: str) -> None:
    with pytest.raises(DetectorError, match=f"unknown detector '{name}'{meant}; known are mtcnn, yunet"):
        create_detector(name)


def test_mtcnn_takes_no_model() -> None:
    with pytest.raises(DetectorError, match="the detector mtcnn takes no model file; leave it out, or choose yunet"):
        create_detector("mtcnn", model="net.onnx")


def test_the_defaults_are_those_that_were_measured() -> None:
    measured = json.loads((PROJECT / "benchmarks" / "detection" / "thresholds.json").read_text())
    assert measured["min_face"] == DEFAULT_MIN_FACE
    assert measured["mtcnn"]["default_min_score"] == mtcnn.DEFAULT_MIN_SCORE
    assert measured["yunet"]["default_min_score"] == yunet.DEFAULT_MIN_SCORE
