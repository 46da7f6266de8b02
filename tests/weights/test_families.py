"""Weight files of either family, and those written before there were two."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import apvit.weights.file as file_module
from apvit.engines.torch_engine import TorchEngine
from apvit.expressions import LABEL_SPACES
from apvit.nn import APViT, HybridModel, TransFER, create_model
from apvit.weights import Card, Preprocessing, WeightsError, load_weights, read_card, save_weights


@pytest.fixture
def transfer() -> TransFER:
    torch.manual_seed(0)
    model = create_model(
        "transfer_base",
        image_size=16, in_channels=1, num_classes=8, stem_width=8, stem_stages=((8, 1), (16, 1)), dim=16, depth=2,
        num_heads=2, local_width=3, map_drop=0.5,
    )  # fmt: skip
    assert isinstance(model, TransFER)
    torch.nn.init.normal_(model.head.weight)
    return model


@pytest.fixture
def saved(tmp_path: Path, transfer: TransFER) -> Path:
    card = Card(
        architecture="transfer_base",
        parameters=transfer.config.to_dict(),
        labels=LABEL_SPACES["ferplus"],
        preprocessing=Preprocessing(None, 16, "grey", (0.5,), (0.25,)),
        provenance={},
        metrics=(),
        licence="none",
        intended_use="tests",
    )
    path = tmp_path / "transfer.safetensors"
    save_weights(transfer, card, path)
    return path


def forge(path: Path, card: str) -> None:
    """Another card in the file, with a right digest."""
    tensors = load_file(path)
    names = {dtype: name for name, dtype in file_module._dtypes().items()}
    stored = [
        file_module._Stored(k, names[v.dtype], list(v.shape), v.flatten().view(torch.uint8).numpy().data)
        for k, v in tensors.items()
    ]
    save_file(tensors, path, {"apvit": card, "apvit_sha256": file_module._digest(card, stored)})


def test_transfer_round_trip(saved: Path, transfer: TransFER) -> None:
    loaded, card = load_weights(saved)
    assert isinstance(loaded, TransFER)
    assert card.parameters["family"] == "transfer"
    assert loaded.config == transfer.config
    x = torch.randn(3, 1, 16, 16)
    assert torch.equal(loaded(x), transfer.eval()(x))


def test_an_engine_runs_it(saved: Path) -> None:
    x = np.random.default_rng(0).standard_normal((3, 1, 16, 16), np.float32)
    out = TorchEngine(saved, device="cpu").run(x)
    assert out.probabilities.shape == (3, 8)
    np.testing.assert_array_equal(out.patches, np.arange(16)[None].repeat(3, 0))


def test_files_of_version_1_are_apvits(tmp_path: Path, model: APViT, make_card: Callable[..., Card]) -> None:
    path = tmp_path / "old.safetensors"
    save_weights(model, make_card(), path)
    values = json.loads(read_card(path).to_json())
    values["format"] = 1
    del values["parameters"]["family"]
    forge(path, json.dumps(values))
    loaded, card = load_weights(path)
    assert isinstance(loaded, APViT)
    assert card == make_card()
    x = torch.randn(3, 1, 16, 16)
    assert torch.equal(loaded(x), model.eval()(x))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "vit"}, "parameters cannot be built: unknown family 'vit'; known are apvit, transfer"),
        ({"family": None}, "unknown family None"),
        ({"family": "apvit"}, "unknown hyper-parameters head_drop, local_branches, local_width, map_drop"),
        ({"map_drop": 2}, "map_drop is a probability"),
        ({"map_drop": "x"}, "parameters cannot be built: malformed hyper-parameters"),
        ({"local_branches": 10**9}, "describes 1000000004 blocks, units and local CNNs"),
        ({"local_branches": 3}, r"tensors are not those of the card's architecture: 14 \(local.2.conv1.weight"),
        ({"local_width": 10**30}, "parameters cannot be built|must be"),
    ],
)
def test_forged_parameters(saved: Path, changes: dict[str, Any], message: str) -> None:
    card = read_card(saved)
    forge(saved, replace(card, parameters={**card.parameters, **changes}).to_json())
    with pytest.raises(WeightsError, match=message):
        load_weights(saved)


def test_a_card_must_name_the_family(tmp_path: Path, model: HybridModel, make_card: Callable[..., Card]) -> None:
    parameters = model.config.to_dict()
    del parameters["family"]
    with pytest.raises(WeightsError, match=r"its parameters differ in 1 \(family\)"):
        save_weights(model, make_card(parameters=parameters), tmp_path / "m.safetensors")
