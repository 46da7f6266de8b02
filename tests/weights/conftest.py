"""A model small enough for everyday tests, and its card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from apvit.expressions import LABEL_SPACES
from apvit.faces.alignment import TEMPLATES
from apvit.nn import APViT, create_model
from apvit.weights import Card, Preprocessing

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


@pytest.fixture(scope="session")
def goldens() -> Path:
    """tiny3's numbers from the official code, and its weights."""
    return GOLDENS


@pytest.fixture
def model() -> APViT:
    """4 x 4 patches, 2 blocks, 8 classes, with every kind of tensor different from its initial value."""
    torch.manual_seed(0)
    model = create_model(
        "apvit_tiny",
        image_size=16,
        stem_width=8,
        stem_stages=((8, 1), (16, 1)),
        dim=16,
        depth=2,
        num_heads=2,
        patch_keep=12,
        token_keep=(1, 0.9),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return model.train()


@pytest.fixture
def make_card(model: APViT) -> Callable[..., Card]:
    """The card of `model`, with any field replaced."""
    card = Card(
        architecture="apvit_tiny",
        parameters=model.config.to_dict(),
        labels=LABEL_SPACES["ferplus"],
        preprocessing=Preprocessing(TEMPLATES["ferplus-48-v1"], 16, "grey", (0.5,), (0.25,)),
        temperature=1.25,
        provenance={"dataset": "ferplus", "seed": 3, "inputs": {"label.csv": "ab"}},
        metrics=({"split": "valid", "protocol": "majority", "faces": 3191, "accuracy": 0.84, "ece": 0.02},),
        licence="none",
        intended_use="tests",
    )

    def make(**changes: Any) -> Card:
        return replace(card, **changes)

    return make
