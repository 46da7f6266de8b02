"""The folded network against the one it is folded from: same logits, same choices, for all stems and families."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import apvit
from apvit.engines.folding import ClassBlock, FoldedStem, FoldedUnit, fold
from apvit.explain.relevance import class_attention, class_relevance
from apvit.nn import HybridModel, TransFER

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
SMALL: dict[str, Any] = {"image_size": 16, "in_channels": 1, "num_classes": 8, "dim": 32, "depth": 4, "num_heads": 4}
KEPT = {"patch_keep": 0.8, "token_keep": (1, 1, 0.8, 0.8)}
STEMS: dict[str, dict[str, Any]] = {
    "tiny's, widths change": {"stem_width": 8, "stem_stages": ((12, 2), (16, 2))},
    "base's, the first stage keeps the width": {"stem_width": 8, "stem_stages": ((8, 2), (12, 1), (16, 2))},
    "one unit": {"stem_width": 8, "stem_stages": ((8, 1),)},
}


def network(name: str = "apvit_tiny", seed: int = 0, **options: Any) -> HybridModel:
    """Random, with BatchNorms as training leaves them: statistics of what they see, weights and biases of their own."""
    torch.manual_seed(seed)
    model = apvit.create_model(name, **options)
    nn.init.normal_(model.head.weight, std=0.3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.4, 1.5)
            nn.init.normal_(module.bias, std=0.4)
            module.momentum = 1.0
    with torch.no_grad():
        features = model.train().stem(faces(model, 4))
        for cnn in getattr(model, "local", ()):
            cnn(features)
    return model.eval()


def faces(model: HybridModel, count: int) -> torch.Tensor:
    size = model.config.image_size
    return torch.randn(count, model.config.in_channels, size, size, generator=torch.Generator().manual_seed(count))


def assert_same(model: HybridModel, folded: HybridModel, x: torch.Tensor) -> None:
    with torch.inference_mode():
        logits, trace = model(x, return_trace=True)
        other, told = folded(x.contiguous(memory_format=torch.channels_last), return_trace=True)
        alone = folded(x)  # without a trace nothing is selected in the last block
    tolerance = 1e-5 * max(1.0, float(logits.abs().max()))
    torch.testing.assert_close(alone, logits, rtol=0, atol=tolerance)
    torch.testing.assert_close(other, logits, rtol=0, atol=tolerance)
    torch.testing.assert_close(told.patch_scores, trace.patch_scores, rtol=1e-5, atol=0)
    torch.testing.assert_close(told.cls, trace.cls, rtol=1e-5, atol=2e-5)
    for mine, its in zip((told.patches, *told.tokens), (trace.patches, *trace.tokens), strict=True):
        assert torch.equal(mine, its)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("changes", [{}, {"patch_keep": None, "token_keep": None}, {"token_score": "max"}], ids=str)
def test_same_answers(stem: str, changes: dict[str, Any], count: int) -> None:
    options = SMALL | KEPT | STEMS[stem] | changes
    model = network(**options)
    assert_same(model, fold(copy.deepcopy(model)), faces(model, count))


@pytest.mark.parametrize("count", [1, 3])
def test_transfer(count: int) -> None:
    model = network("transfer_base", **SMALL, **STEMS["tiny's, widths change"], local_branches=2)
    assert_same(model, fold(copy.deepcopy(model)), faces(model, count))


@pytest.mark.parametrize("name", ["apvit_tiny", "apvit_small"])
def test_named_architectures(name: str) -> None:
    model = network(name)
    assert_same(model, fold(copy.deepcopy(model)), faces(model, 1))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["apvit_base", "transfer_base"])
def test_large_architectures(name: str) -> None:
    model = network(name)
    assert_same(model, fold(copy.deepcopy(model)), faces(model, 2))


def test_the_official_codes_numbers() -> None:
    keeps = {"patch_keep": 157, "token_keep": (1, 1, 1, 0.9, 0.8, 0.7)}
    model = apvit.from_official(GOLDENS / "golden_tiny3_weights.safetensors", num_heads=4, **keeps).float().eval()
    numbers = np.load(GOLDENS / "golden_tiny3_seed0.npz")
    with torch.inference_mode():
        logits, trace = fold(model)(torch.from_numpy(numbers["input"]), return_trace=True)
    np.testing.assert_allclose(logits, numbers["logits"], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(trace.patches, numbers["app_keep"])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(-30, 30), st.floats(1e-6, 4))
def test_whatever_the_norms_hold(seed: int, bias: float, weight: float) -> None:
    """Shifts far larger than what they are added to, and scales near zero, must not cost digits."""
    options = SMALL | STEMS["base's, the first stage keeps the width"] | {"patch_keep": None, "token_keep": None}
    model = network(seed=seed, **options)
    norm = model.stem.stages[1][0].norm1
    with torch.no_grad():
        norm.bias[0], norm.weight[0] = bias, weight
    x = faces(model, 2)
    with torch.inference_mode():
        exact = copy.deepcopy(model).double()(x.double())
        plain, folded = model(x), fold(copy.deepcopy(model))(x)
    scale = max(float(exact.abs().max()), 1.0)
    assert float((folded - exact).abs().max()) <= max(8 * float((plain - exact).abs().max()), 1e-5 * scale)


@pytest.mark.parametrize(
    ("change", "carried"),
    [
        (lambda norm: None, True),
        (lambda norm: norm.weight[3].zero_(), False),  # a constant channel has no map that could be shifted
        (lambda norm: norm.bias[3].fill_(30.0), False),
    ],
)
def test_which_norms_disappear(change: Callable[[nn.BatchNorm2d], object], carried: bool) -> None:
    model = network(**SMALL, **KEPT, **STEMS["tiny's, widths change"])
    with torch.no_grad():
        change(model.stem.stages[1][0].norm1)
    folded = fold(copy.deepcopy(model))
    assert isinstance(folded.stem, FoldedStem)
    norms = [isinstance(unit.norm, nn.BatchNorm2d) for unit in folded.stem.units if isinstance(unit, FoldedUnit)]
    assert norms == [True, False, not carried, False]  # the first follows a PReLU
    assert_same(model, folded, faces(model, 2))


def test_nothing_is_left_to_train() -> None:
    folded = fold(network(**SMALL, **KEPT, **STEMS["one unit"]))
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert isinstance(folded.blocks[-1], ClassBlock)
    with pytest.raises(ValueError, match="evaluation mode"):
        fold(network().train())


def test_transfers_local_norms_disappear() -> None:
    folded = fold(network("transfer_base", **SMALL, **STEMS["one unit"]))
    assert isinstance(folded, TransFER)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.local.modules())


def test_explanations_are_the_same() -> None:
    options = SMALL | KEPT | STEMS["tiny's, widths change"]
    model = network(**options)
    folded, x, classes = fold(copy.deepcopy(model)), faces(model, 2), torch.tensor([[0, 1], [2, 3]])
    torch.testing.assert_close(class_relevance(folded, x, classes), class_relevance(model, x, classes))
    torch.testing.assert_close(class_attention(folded, x), class_attention(model, x))
