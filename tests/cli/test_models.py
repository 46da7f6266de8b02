"""`apvit models` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import apvit.weights.sources as sources
from apvit.cli import main
from apvit.expressions import LABEL_SPACES
from apvit.faces.alignment import TEMPLATES
from apvit.nn import create_model
from apvit.weights import Card, Preprocessing, list_weights, save_weights


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bundled weights with one measured file in it."""
    model = create_model("apvit_tiny")
    card = Card(
        architecture="apvit_tiny",
        parameters=model.config.to_dict(),
        labels=LABEL_SPACES["ferplus"],
        preprocessing=Preprocessing(TEMPLATES["ferplus-48-v1"], 48, "grey", (0.5,), (0.25,)),
        provenance={},
        metrics=({"split": "valid", "faces": 3191, "accuracy": 0.8456}, {"split": "other", "faces": 10}),
        licence="as it says",
        intended_use="tests",
    )
    path = tmp_path / "apvit_tiny.ferplus.safetensors"
    save_weights(model, card, path, dtype=torch.float16)
    monkeypatch.setattr(sources, "ASSETS", tmp_path)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as status:
        main(["models", *arguments])
    assert not status.value.code
    return capsys.readouterr().out


def test_json(bundled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(run(capsys, "--format", "json"))
    assert [row["name"] for row in listed["architectures"]] == [
        "apvit_base",
        "apvit_small",
        "apvit_tiny",
        "transfer_base",
    ]
    assert round(listed["architectures"][-1]["multiply_accumulates"] / 1e9, 2) == 15.28
    assert listed["architectures"][0]["parameters"] == 65_209_543
    assert round(listed["architectures"][0]["multiply_accumulates"] / 1e9, 2) == 12.65
    (row,) = listed["weights"]
    assert row["name"] == "apvit_tiny.ferplus"
    assert row["labels"] == list(LABEL_SPACES["ferplus"].expressions)
    assert row["metrics"][0] == {"split": "valid", "faces": 3191, "accuracy": 0.8456}
    assert row["input"] == [1, 48, 48]
    assert row["bytes"] == bundled.stat().st_size
    assert row["alignment"] == "ferplus-48-v1"
    assert row["licence"] == "as it says"


def test_table(bundled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "180")
    table = run(capsys)
    for text in (
        "apvit_tiny.ferplus",
        "0.846 valid (3,191 faces)",
        "other (10 faces)",
        "8: neutral, happiness",
        "1.23",
    ):
        assert text in table
    assert "apvit_base" in table
    assert "65.21" in table


def test_nothing_bundled(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "ASSETS", tmp_path / "absent")
    assert list_weights() == []
    assert "No weights are bundled." in run(capsys)


def test_one_model_card(bundled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "apvit_tiny")
    assert text.startswith("# apvit_tiny.ferplus\n")
    assert "1,233,192 parameters" in text
    assert "0.243 G" in text
