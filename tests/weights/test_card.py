"""The card: what it refuses, that it survives JSON, versions, and normalisation."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import apvit.weights.card as card_module
from apvit.expressions import LABEL_SPACES, LabelSpace
from apvit.faces.alignment import TEMPLATES, AlignmentTemplate
from apvit.weights import Card, CardError, Preprocessing

MakeCard = Callable[..., Card]
GREY = Preprocessing(TEMPLATES["ferplus-48-v1"], 16, "grey", (0.5,), (0.25,))
PARAMETERS = {"image_size": 16, "in_channels": 1, "num_classes": 8}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": ""}, "architecture must be a text, got ''"),
        ({"licence": 3}, "licence must be a text, got 3"),
        ({"intended_use": ""}, "intended_use must be a text"),
        ({"description": None}, "description must be a text"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"temperature": float("nan")}, "temperature must be a finite number, got nan"),
        ({"temperature": True}, "temperature must be a finite number, got True"),
        ({"temperature": 10**400}, "temperature must be a finite number"),
        ({"labels": "ferplus"}, "labels must be a LabelSpace"),
        ({"labels": LABEL_SPACES["raf-db"]}, "parameters.num_classes is 8, but the number of labels is 7"),
        ({"labels": LabelSpace("ferplus", LABEL_SPACES["affectnet-8"].expressions)}, "labels are called 'ferplus' but"),
        ({"preprocessing": None}, "preprocessing must be a Preprocessing"),
        ({"preprocessing": replace(GREY, size=48)}, "parameters.image_size is 16, but preprocessing.size is 48"),
        (
            {"preprocessing": replace(GREY, colour="rgb", mean=(0.5,) * 3, std=(0.5,) * 3)},
            "parameters.in_channels is 1, but the channels of colour 'rgb' is 3",
        ),
        ({"parameters": {}}, "parameters.num_classes must be a positive integer, got None"),
        ({"parameters": {**PARAMETERS, "image_size": 16.0}}, "parameters.image_size must be a positive integer"),
        ({"parameters": {**PARAMETERS, 3: 3}}, "parameters has keys that are not texts: [3]"),
        ({"provenance": {"a": {"b": float("inf")}}}, "provenance.a.b must be finite, got inf"),
        ({"provenance": {"a": np.float32(1)}}, "provenance.a must be made of JSON values, got float32"),
        ({"provenance": ["a"]}, "provenance must be a JSON object"),
        ({"metrics": "0.9"}, "metrics must be a list of measurements"),
        ({"metrics": ({"faces": 1},)}, "metrics[0] must name the split it was measured on, got None"),
        ({"metrics": ({"split": "valid"},)}, "metrics[0].faces must be a positive integer, got None"),
        ({"metrics": ({"split": "valid", "faces": 0},)}, "metrics[0].faces must be a positive integer, got 0"),
        (
            {"metrics": ({"split": "valid", "faces": 1, "accuracy": 84.1},)},
            "metrics[0].accuracy must be a fraction of 1, got 84.1",
        ),
        ({"metrics": ({"split": "valid", "faces": 1, "ece": "low"},)}, "metrics[0].ece must be a finite number"),
    ],
)
def test_refuses(make_card: MakeCard, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CardError, match=re.escape(message)):
        make_card(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alignment": "arcface-112"}, "alignment must be an AlignmentTemplate or None"),
        ({"alignment": replace(TEMPLATES["arcface-112"], size=224)}, "called 'arcface-112' but its points or size"),
        ({"size": 0}, "size must be a positive integer, got 0"),
        ({"colour": "bgr"}, "colour must be one of grey, rgb, got 'bgr'"),
        ({"interpolation": "nearest"}, "interpolation must be one of antialiased-bilinear, got 'nearest'"),
        ({"mean": (0.5, 0.5)}, "mean must have 1 numbers for colour 'grey', got (0.5, 0.5)"),
        ({"mean": 0.5}, "mean must have 1 numbers"),
        ({"std": (float("nan"),)}, "std must be a finite number, got nan"),
        ({"std": (0.0,)}, "std must be above 0"),
    ],
)
def test_preprocessing_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CardError, match=re.escape(message)):
        replace(GREY, **changes)


def test_unknown_template_and_none_are_allowed() -> None:
    own = AlignmentTemplate("mine", 96, TEMPLATES["arcface-112"].points)
    assert replace(GREY, alignment=own).alignment == own
    assert replace(GREY, alignment=None).alignment is None


def test_json_says_everything_and_comes_back(make_card: MakeCard) -> None:
    card = make_card()
    values = json.loads(card.to_json())
    assert values["format"] == card_module.FORMAT
    assert values["labels"] == {"name": "ferplus", "expressions": list(LABEL_SPACES["ferplus"].expressions)}
    assert values["preprocessing"]["alignment"]["points"][0] == list(TEMPLATES["ferplus-48-v1"].points[0])
    assert values["parameters"]["stem_stages"] == [[8, 1], [16, 1]]
    assert Card.from_json(card.to_json()) == card


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(
    provenance=st.dictionaries(st.text(), JSON_VALUES, max_size=3),
    temperature=st.floats(1e-3, 1e3),
    texts=st.tuples(*[st.text(min_size=1)] * 4),
    space=st.sampled_from(list(LABEL_SPACES.values())),
    template=st.sampled_from([None, *TEMPLATES.values()]),
    colour=st.sampled_from(["grey", "rgb"]),
    size=st.integers(1, 512),
    accuracy=st.floats(0, 1),
)
def test_any_card_comes_back(
    provenance: dict[str, Any],
    temperature: float,
    texts: tuple[str, ...],
    space: LabelSpace,
    template: AlignmentTemplate | None,
    colour: str,
    size: int,
    accuracy: float,
) -> None:
    channels = {"grey": 1, "rgb": 3}[colour]
    card = Card(
        texts[0],
        {"image_size": size, "in_channels": channels, "num_classes": len(space), "token_keep": (1, 0.9)},
        space,
        Preprocessing(template, size, colour, (1 / 3,) * channels, (0.1,) * channels),
        temperature=temperature,
        provenance=provenance,
        metrics=({"split": texts[1], "faces": 2, "accuracy": accuracy},),
        licence=texts[2],
        intended_use=texts[3],
    )
    assert Card.from_json(card.to_json()) == card


def _edited(card: Card, *path: str, to: Any) -> str:
    values = json.loads(card.to_json())
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return json.dumps(values)


@pytest.mark.parametrize(
    ("path", "to", "message"),
    [
        (("format",), 3, "has format 3, but this release reads up to 2; update apvit"),
        (("format",), 0, "format must be a positive integer, got 0"),
        (("format",), "1", "format must be a positive integer, got '1'"),
        (("colour",), "x", "the card has unknown keys: colour"),
        (("labels", "colour"), "x", "labels has unknown keys: colour"),
        (("labels", "expressions"), "neutral", "labels must have a name and a list of expressions"),
        (("labels", "expressions"), ["neutral", "joy"], "unknown expression 'joy'"),
        (("labels",), None, "labels must be a JSON object, got None"),
        (("preprocessing", "crop"), 1, "preprocessing has unknown keys: crop"),
        (("preprocessing", "alignment"), {"name": "x"}, "preprocessing.alignment is malformed"),
        (("preprocessing", "alignment"), "x", "preprocessing.alignment must be a JSON object"),
        (("preprocessing", "alignment", "size"), 47, "called 'ferplus-48-v1' but its points or size"),
        (("preprocessing", "alignment", "points"), [[10**400, 0]] * 5, "preprocessing.alignment is malformed"),
        (("metrics",), {}, "metrics must be a list of measurements"),
        (("temperature",), "1", "temperature must be a finite number, got '1'"),
    ],
)
def test_from_json_refuses(make_card: MakeCard, path: tuple[str, ...], to: Any, message: str) -> None:
    with pytest.raises(CardError, match=re.escape(message)):
        Card.from_json(_edited(make_card(), *path, to=to))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("[]", "the card must be a JSON object"),
        ("{}", "format must be a positive integer, got None"),
        ('{"format": 1}', "the card lacks architecture, parameters"),
        ('{"format": 1, "format": 1}', "a key stands twice"),
        ('{"format": NaN}', "NaN is not JSON"),
        ('{"format": 1, "temperature": 1e999}', "temperature must be finite, got inf"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "nested too deeply"),
        ('{"a":' * 600 + "1" + "}" * 600, "nested too deeply"),
    ],
)
def test_from_json_refuses_text(text: str, message: str) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)  # Python's own; torch.compile raises it
    try:
        with pytest.raises(CardError, match=message):
            Card.from_json(text)
    finally:
        sys.setrecursionlimit(limit)


def test_older_versions_pass_through_every_upgrade(make_card: MakeCard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two imagined later versions show that the chain runs in order and to its end."""
    monkeypatch.setattr(card_module, "FORMAT", 4)
    monkeypatch.setitem(card_module.UPGRADES, 2, lambda v: {**v, "temperature": v["temperature"] + 1})
    monkeypatch.setitem(card_module.UPGRADES, 3, lambda v: {**v, "temperature": v["temperature"] * 2})
    card = make_card()
    assert Card.from_json(_edited(card, "format", to=1)).temperature == (card.temperature + 1) * 2
    assert Card.from_json(_edited(card, "format", to=2)).temperature == (card.temperature + 1) * 2
    assert Card.from_json(_edited(card, "format", to=3)).temperature == card.temperature * 2
    assert Card.from_json(_edited(card, "format", to=4)) == card


def version_1(card: Card) -> str:
    """The card as the first version wrote it, which knew one family only."""
    values = json.loads(card.to_json())
    values["format"] = 1
    del values["parameters"]["family"]
    return json.dumps(values)


def test_cards_of_version_1_are_apvits(make_card: MakeCard) -> None:
    card = make_card()
    assert json.loads(card.to_json())["parameters"]["family"] == "apvit"
    assert Card.from_json(version_1(card)) == card


@pytest.mark.parametrize("parameters", [None, [], "family"])
def test_malformed_cards_of_version_1(make_card: MakeCard, parameters: Any) -> None:
    values = {**json.loads(version_1(make_card())), "parameters": parameters}
    with pytest.raises(CardError, match="parameters must be a JSON object"):
        Card.from_json(json.dumps(values))


def test_every_older_version_has_an_upgrade() -> None:
    assert list(card_module.UPGRADES) == list(range(1, card_module.FORMAT))


def test_normalise_is_pils_grey() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    pil = np.stack([np.asarray(Image.fromarray(face).convert("L")) for face in faces])
    x = GREY.normalise(faces)
    assert x.shape == (40, 1, 16, 16)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    np.testing.assert_array_equal(x, GREY.normalise(pil))
    np.testing.assert_allclose(x[:, 0], (pil / 255 - 0.5) / 0.25, atol=1e-6)


def test_normalise_leaves_grey_as_it_is() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    np.testing.assert_array_equal(GREY.normalise(values), GREY.normalise(values[..., None].repeat(3, -1)))


def test_normalise_rgb() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    rgb = Preprocessing(None, 16, "rgb", mean, std)
    faces = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3), np.uint8)
    expected = ((faces / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(rgb.normalise(faces), expected, atol=1e-6)
    grey = faces[..., 0]
    np.testing.assert_array_equal(rgb.normalise(grey), rgb.normalise(grey[..., None].repeat(3, -1)))


@pytest.mark.parametrize(
    ("faces", "got"),
    [
        (np.zeros((2, 16, 16, 3), np.float32), "float32 [2, 16, 16, 3]"),
        (np.zeros((2, 48, 48), np.uint8), "uint8 [2, 48, 48]"),
        (np.zeros((16, 16, 3), np.uint8), "uint8 [16, 16, 3]"),
        (np.zeros((2, 16, 16, 4), np.uint8), "uint8 [2, 16, 16, 4]"),
    ],
)
def test_normalise_refuses(faces: Any, got: str) -> None:
    with pytest.raises(CardError, match=re.escape(f"expected uint8 faces [B, 16, 16] or [B, 16, 16, 3], got {got}")):
        GREY.normalise(faces)


def test_normalise_nothing() -> None:
    assert GREY.normalise(np.zeros((0, 16, 16, 3), np.uint8)).shape == (0, 1, 16, 16)


def test_needs_no_torch() -> None:
    code = "import sys, apvit.weights; apvit.weights.list_weights(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
