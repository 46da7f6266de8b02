"""TorchEngine against the model itself, and what it refuses."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apvit.engines import EngineError, Keep, create_engine
from apvit.engines.torch_engine import TorchEngine
from apvit.evaluation.engine_accuracy import overlap
from apvit.expressions import LABEL_SPACES
from apvit.nn import APViT, create_model
from apvit.weights import Card, Preprocessing, WeightsError, load_weights, save_weights

TEMPERATURE = 1.7


def _save(folder: Path, **changes: Any) -> Path:
    torch.manual_seed(0)
    options = {"dim": 16, "depth": 2, "num_heads": 2, "patch_keep": 12, "token_keep": (1, 0.9)}
    model = create_model(
        "apvit_tiny", image_size=16, stem_width=8, stem_stages=((8, 1), (16, 1)), **(options | changes)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    card = Card(
        architecture="apvit_tiny",
        parameters=model.config.to_dict(),
        labels=LABEL_SPACES["ferplus"],
        preprocessing=Preprocessing(None, 16, "grey", (0.5,), (0.25,)),
        temperature=TEMPERATURE,
        provenance={},
        metrics=(),
        licence="none",
        intended_use="tests",
    )
    path = folder / "model.safetensors"
    save_weights(model, card, path, dtype=torch.float16)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def engine(weights: Path) -> TorchEngine:
    return TorchEngine(weights, device="cpu")


@pytest.fixture(scope="module")
def model(weights: Path) -> APViT:
    return load_weights(weights)[0]


def inputs(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((count, 1, 16, 16), np.float32)


def test_is_the_model(engine: TorchEngine, model: APViT) -> None:
    x = inputs(5)
    out = engine.run(x)
    with torch.inference_mode():
        logits, trace = model(torch.from_numpy(x), return_trace=True)
    np.testing.assert_allclose(out.probabilities, (logits / TEMPERATURE).softmax(1), atol=1e-6)
    np.testing.assert_array_equal(out.patches, trace.patches)
    np.testing.assert_allclose(out.embedding, trace.cls, atol=1e-5)
    np.testing.assert_allclose(out.probabilities.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(out.patch_scores, trace.patch_scores, rtol=1e-5)
    for ours, theirs in zip(out.tokens, trace.tokens, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [(a.dtype, a.shape) for a in (*out[:3], out.embedding)] == [
        (np.float32, (5, 8)),
        (np.float32, (5, 16)),
        (np.int64, (5, 12)),
        (np.float32, (5, 16)),
    ]


def test_without_patch_pooling_every_patch_is_kept(tmp_path: Path) -> None:
    out = create_engine(_save(tmp_path, patch_keep=None, token_keep=None)).run(inputs(2))
    np.testing.assert_array_equal(out.patches, np.tile(np.arange(16), (2, 1)))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 9), max_size=3))
def test_any_split_of_a_batch_is_the_same(engine: TorchEngine, cuts: list[int]) -> None:
    x = inputs(9)
    whole, parts = engine.run(x), [engine.run(part) for part in np.split(x, sorted(cuts))]
    for field in ("probabilities", "embedding"):
        joined = np.concatenate([getattr(part, field) for part in parts])
        np.testing.assert_allclose(joined, getattr(whole, field), atol=1e-5)
    np.testing.assert_array_equal(np.concatenate([part.patches for part in parts]), whole.patches)


def test_flipped_and_read_only_arrays(engine: TorchEngine) -> None:
    x = inputs(2)
    flipped = engine.run(x[..., ::-1]).probabilities
    copied = np.ascontiguousarray(x[..., ::-1])
    copied.setflags(write=False)
    np.testing.assert_array_equal(engine.run(copied).probabilities, flipped)


def _nan() -> Any:
    x = inputs(3)
    x[1, 0, 2, 2], x[2, 0, 0, 0] = np.nan, np.inf
    return x


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (inputs(1)[0], "expected a numpy float32 array [B, 1, 16, 16], got float32 [1, 16, 16]"),
        (inputs(1)[:, :, :8], "got float32 [1, 1, 8, 16]"),
        (inputs(1).repeat(3, 1), "got float32 [1, 3, 16, 16]"),
        (inputs(1).astype(np.float64), "got float64 [1, 1, 16, 16]"),
        (np.zeros((1, 1, 16, 16), np.uint8), "got uint8 [1, 1, 16, 16]"),
        (torch.zeros(1, 1, 16, 16), "got Tensor"),
        (_nan(), "NaN or infinity in 2 of 3 faces, the first is number 1"),
    ],
)
def test_refuses(engine: TorchEngine, x: Any, message: str) -> None:
    with pytest.raises(EngineError, match=re.escape(message)):
        engine.run(x)


@pytest.mark.parametrize(("name", "device"), [("auto", "auto"), ("torch", "cpu")])
def test_create_engine(weights: Path, name: str, device: str) -> None:
    engine = create_engine(weights, name, device)
    assert isinstance(engine, TorchEngine)
    assert engine.card.labels == LABEL_SPACES["ferplus"]


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("tensorflow", "auto", "unknown engine 'tensorflow'; known are auto, torch"),
        ("torch", "toaster", "unknown device 'toaster'; known are auto, cpu, cuda"),
        ("torch", "cuda:99", "device 'cuda:99' is not there: torch sees"),
    ],
)
def test_create_engine_refuses(weights: Path, name: str, device: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        create_engine(weights, name, device)


def test_unknown_weights() -> None:
    with pytest.raises(WeightsError, match="no weights 'apvit_huge'"):
        create_engine("apvit_huge")


def test_bf16_is_close_and_keeps_about_the_same(weights: Path, engine: TorchEngine) -> None:
    x = inputs(64)
    rounded, exact = create_engine(weights, device="cpu", precision="bf16").run(x), engine.run(x)
    # bfloat16 has 8 bits of mantissa, and this network's random weights amplify what they round.
    assert np.abs(rounded.probabilities - exact.probabilities).mean() < 0.02
    assert overlap(rounded.patches, exact.patches).mean() > 0.95
    assert overlap(rounded.tokens[-1], exact.tokens[-1]).mean() > 0.9
    assert {array.dtype for array in (*rounded[:2], rounded.embedding)} == {np.dtype(np.float32)}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_is_the_same(weights: Path, engine: TorchEngine) -> None:
    compiled = create_engine(weights, device="cpu", compile=True)
    for count in (1, 4, 7):
        there, here = compiled.run(inputs(count)), engine.run(inputs(count))
        np.testing.assert_allclose(there.probabilities, here.probabilities, atol=1e-5)
        np.testing.assert_array_equal(there.patches, here.patches)


def test_another_keep_shares_the_tensors(weights: Path, engine: TorchEngine) -> None:
    other = engine.with_keep(Keep(8, (1, 0.5)))
    assert [alive.shape[1] for alive in other.run(inputs(2)).tokens] == [8, 4]
    assert engine.run(inputs(2)).patches.shape == (2, 12)  # which stays as it was
    assert other.card.parameters["patch_keep"] == 8
    mine, its = (dict(one.model.named_parameters()) for one in (engine, other))
    assert {name: tensor.data_ptr() for name, tensor in mine.items()} == {n: t.data_ptr() for n, t in its.items()}
    with pytest.raises(EngineError, match="keep 100 does not fit"):
        engine.with_keep(Keep(100))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp8"}, "unknown precision 'fp8'; known are float32, bf16"),
        ({"engine": "onnx", "precision": "bf16"}, "compile and precision are options of torch"),
        ({"engine": "openvino", "compile": True}, "compile and precision are options of torch"),
    ],
)
def test_options_that_cannot_be(weights: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        create_engine(weights, **options)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
@pytest.mark.parametrize("compile", [False, True])
def test_a_gpu_in_bf16(weights: Path, engine: TorchEngine, compile: bool) -> None:
    x = inputs(64)
    there = create_engine(weights, device="cuda", precision="bf16", compile=compile).run(x)
    assert overlap(there.patches, engine.run(x).patches).mean() > 0.95


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
def test_a_gpu_agrees(weights: Path, engine: TorchEngine) -> None:
    x = inputs(64)
    there, here = create_engine(weights, device="cuda").run(x), engine.run(x)
    np.testing.assert_array_equal(there.patches, here.patches)
    np.testing.assert_allclose(there.probabilities, here.probabilities, atol=1e-5)
    np.testing.assert_allclose(there.embedding, here.embedding, atol=1e-4)


def test_the_room_needs_no_torch_to_be_imported() -> None:
    code = "import sys, apvit.engines; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
