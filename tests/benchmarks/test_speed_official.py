"""The baseline of the speed benchmarks computes what our network computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from apvit.nn import APViT, APViTConfig, build_model, create_model
from apvit.weights import from_official, load_weights

SMALL: dict[str, Any] = {
    "image_size": 16,
    "in_channels": 1,
    "num_classes": 3,
    "stem_width": 4,
    "stem_stages": ((6, 1), (8, 2)),
    "dim": 12,
    "depth": 3,
    "num_heads": 2,
    "patch_keep": 12,
    "token_keep": (1, 0.8, 0.5),
}


@pytest.fixture(scope="module")
def official(speed: Callable[[str], ModuleType]) -> ModuleType:
    return speed("official")


def random_model(**changes: Any) -> APViT:
    torch.manual_seed(0)
    model = create_model("apvit_tiny", **{**SMALL, **changes})
    assert isinstance(model, APViT)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.copy_(torch.rand_like(buffer) + 0.5)
    return model.eval()


@pytest.mark.parametrize(
    ("changes", "batch"),
    [
        ({}, 1),
        ({}, 5),
        ({}, 13),  # as large as the number of tokens, where the official code itself forgets to pool
        ({"patch_keep": None}, 3),
        ({"token_keep": None}, 3),
        ({"patch_keep": None, "token_keep": None}, 3),
        ({"patch_keep": 1, "token_keep": (1, 1, 1)}, 2),
        ({"depth": 1, "token_keep": (0.5,)}, 2),
    ],
)
def test_equals_our_network(changes: dict[str, Any], batch: int, official: ModuleType) -> None:
    model = random_model(**changes)
    x = torch.randn(batch, 1, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(official.OfficialFormulation(model)(x), model(x), atol=1e-5, rtol=0)


def test_equals_our_network_with_the_bundled_weights(official: ModuleType) -> None:
    model, _ = load_weights("apvit_tiny")
    x = torch.randn(4, 1, 48, 48)
    with torch.inference_mode():
        torch.testing.assert_close(official.OfficialFormulation(model)(x), model(x), atol=1e-5, rtol=0)


def test_equals_the_official_code(official: ModuleType) -> None:
    """Its own numbers for its own weights, from tests/goldens."""
    folder = Path(__file__).resolve().parents[1] / "goldens"
    golden = np.load(folder / "golden_tiny3_seed0.npz")
    keep = {"patch_keep": 157, "token_keep": (1, 1, 1, 0.9, 0.8, 0.7)}
    model = from_official(load_file(folder / "golden_tiny3_weights.safetensors"), num_heads=4, **keep)
    logits = official.OfficialFormulation(model)(torch.from_numpy(golden["input"]))
    torch.testing.assert_close(logits, torch.from_numpy(golden["logits"]), atol=1e-5, rtol=0)


def test_run_eagerly_gives_probabilities(official: ModuleType) -> None:
    model = random_model()
    probabilities = official.run_eagerly(model, np.zeros((2, 1, 16, 16), np.float32))
    assert probabilities.shape == (2, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)


def test_other_scores_than_the_papers_are_refused(official: ModuleType) -> None:
    model = build_model(APViTConfig(**SMALL, token_score="max"))
    with pytest.raises(ValueError, match="not abs_sum, max"):
        official.OfficialFormulation(model)
