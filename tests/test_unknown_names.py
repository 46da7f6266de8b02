"""A name that nobody knows: every room names the nearest that it knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import apvit
from apvit.data.datasets import get_dataset
from apvit.data.votes import protocol_for
from apvit.engines import create_engine
from apvit.expressions import LabelSpace, get_label_space
from apvit.faces.detection import create_detector
from apvit.files import nearest
from apvit.weights import find_weights

KNOWN = ("raf-db", "ferplus", "aff-wild2", "learning_rate", "--batch-size", "apvit_tiny", "apvit_small")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ferpluss", "ferplus"),
        ("FERPlus", "ferplus"),
        ("RAF_DB", "raf-db"),
        ("lr", "learning_rate"),
        ("--bs", "--batch-size"),
        ("apvit_tinny", "apvit_tiny"),
        ("apvit_base", None),  # near both, and meant for none
        ("", None),
        ("fer", None),
    ],
)
def test_nearest(name: str, expected: str | None) -> None:
    assert nearest(name, KNOWN) == expected


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: apvit.create_model("apvit_tinny"), "apvit_tiny"),
        (lambda: apvit.Recognizer(detector="mtcn"), "mtcnn"),
        (lambda: apvit.Recognizer(detector="non"), "none"),
        (lambda: create_detector("yunett"), "yunet"),
        (lambda: create_engine("apvit_tiny", "onx"), "onnx"),
        (lambda: create_engine("apvit_tiny", precision="fp32"), None),
        (lambda: create_engine("apvit_tiny", precision="bf-16"), "bf16"),
        (lambda: find_weights("apvit_tinny"), "apvit_tiny"),
        (lambda: find_weights(Path("apvit_tiny.ferpluss")), "apvit_tiny.ferplus"),
        (lambda: get_dataset("rafdb"), "raf-db"),
        (lambda: get_label_space("fer-plus"), "ferplus"),
        (lambda: get_label_space("ferplus").index("hapiness"), "happiness"),
        (lambda: LabelSpace("mine", ("neutral", "sadnes")), "sadness"),
        (lambda: protocol_for("majorty", "train"), "majority"),
    ],
)
def test_every_room_names_the_near_hit(call: Callable[[], object], meant: str | None) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    if meant is None:
        assert "did you mean" not in str(caught.value)
    else:
        assert f"(did you mean {meant!r}?)" in str(caught.value)


@pytest.mark.parametrize("name", ["mtcn", "steam"])
def test_the_unknown_detector_message_names_none(name: str) -> None:
    with pytest.raises(ValueError, match="known are mtcnn, yunet, none"):
        apvit.Recognizer(detector=name)
