"""The compute dial: reading it, and running the same weights at other keeps in every engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import apvit
from apvit.engines import EngineError, Keep, create_engine
from apvit.engines.cache import cached_export, export_path
from apvit.engines.torch_engine import TorchEngine
from apvit.weights import read_card


@pytest.mark.parametrize(
    ("text", "keep", "back"),
    [
        ("0.8", Keep(0.8), "0.8"),
        (".8", Keep(0.8), "0.8"),
        ("1", Keep(None), "1"),
        ("1.0:1,.5", Keep(None, (1, 0.5)), "1:1,0.5"),
        ("100:1,0.9,50", Keep(100, (1, 0.9, 50)), "100:1,0.9,50"),
    ],
)
def test_reading(text, keep, back):
    assert Keep.parse(text) == keep
    assert str(keep) == back
    assert Keep.parse(back) == keep


@pytest.mark.parametrize("text", ["", "eighty", "0", "-0.5", "1.5", "0.8:", "0.8:1,,1", "nan", "inf", "0.8:1,1:2"])
def test_what_is_no_setting(text):
    with pytest.raises(EngineError, match="is no keep setting"):
        Keep.parse(text)


def faces() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(4, 1, 48, 48)).astype(np.float32)


@pytest.mark.parametrize(
    ("text", "patches", "tokens"), [("0.5", 72, (72, 64)), ("1:1,1", 144, (144, 144)), ("30", 30, (30, 27))]
)
def test_same_weights_at_another_keep(weights: Path, text, patches, tokens):
    engine = create_engine(weights, "torch", "cpu", keep=Keep.parse(text))
    output = engine.run(faces())
    assert output.patches.shape == (4, patches)
    assert tuple(alive.shape[1] for alive in output.tokens) == tokens
    assert engine.card.metrics == ()  # measured at another setting


def test_the_cards_own_keep_changes_nothing(weights: Path):
    parameters = read_card(weights).parameters
    own = Keep(parameters["patch_keep"], tuple(parameters["token_keep"]))
    a, b = (create_engine(weights, "torch", "cpu", keep=keep).run(faces()) for keep in (None, own))
    np.testing.assert_array_equal(a.probabilities, b.probabilities)


@pytest.mark.parametrize("text", ["200", "0.5:1,1,1"])
def test_what_does_not_fit(weights: Path, text):
    with pytest.raises(EngineError, match=f"keep {text} does not fit"):
        create_engine(weights, keep=Keep.parse(text))


def test_transfer_has_nothing_to_keep(tmp_path: Path, weights: Path):
    from dataclasses import replace

    small = {"image_size": 48, "in_channels": 1, "num_classes": 8, "stem_width": 4, "stem_stages": ((8, 1), (8, 1))}
    model = apvit.create_model("transfer_base", **small, dim=16, depth=1, num_heads=2)
    card = replace(read_card(weights), architecture="transfer_base", parameters=model.config.to_dict())
    apvit.save_weights(model, card, tmp_path / "transfer.safetensors")
    with pytest.raises(EngineError, match="transfer_base has no attentive pooling"):
        create_engine(tmp_path / "transfer.safetensors", keep=Keep(0.8))


def test_exported(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("onnxscript", reason="needs apvit[export]")
    from apvit.engines.export import export_onnx

    monkeypatch.setenv("APVIT_CACHE", str(tmp_path))
    keep = Keep(0.5, (1, 0.5))
    with pytest.raises(EngineError, match=r"run `apvit export .* --keep 0.5:1,0.5` once"):
        create_engine(weights, "onnx", keep=keep)
    export_onnx(weights, export_path(weights, keep), keep=keep)
    assert cached_export(weights) is None
    exported = create_engine(weights, "onnx", keep=keep)
    a, b = TorchEngine(weights, device="cpu", keep=keep).run(faces()), exported.run(faces())
    np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-5)
    np.testing.assert_array_equal(a.tokens[-1], b.tokens[-1])
    with pytest.raises(EngineError, match="was fixed when it was exported"):
        create_engine(export_path(weights, keep), keep=keep)


def test_the_recognizer_takes_it(weights: Path):
    recognizer = apvit.Recognizer(weights, "none", device="cpu", keep="0.25")
    (face,) = recognizer(np.zeros((48, 48, 3), np.uint8))
    assert face.patches is not None
    assert len(face.patches) == 36
