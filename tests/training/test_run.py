"""A whole run on synthetic faces: what it leaves behind, resuming, starting from weights, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

import apvit
from apvit.data import open_split
from apvit.data.augmentation import Augmentation
from apvit.engines import create_engine
from apvit.evaluation import EvaluationError, evaluate
from apvit.training import Recipe, TrainingError, train
from apvit.weights import read_card

SMALL = {
    "stem_width": 8,
    "stem_stages": ((12, 1), (16, 1)),
    "dim": 32,
    "depth": 2,
    "num_heads": 2,
    "token_keep": (1, 0.9),
}


def recipe(bars: Path, output: Path, **fields) -> Recipe:
    defaults = {
        "model": SMALL,
        "epochs": 2,
        "batch_size": 16,
        "augmentation": Augmentation(flip=0.5, rotate=2, erase=0.1),
        "average_decay": 0.5,
        "learning_rate": 3e-3,
        "device": "cpu",
    }
    return Recipe(data=str(bars), output=str(output), **{**defaults, **fields})


@pytest.fixture(scope="module")
def run(bars, tmp_path_factory) -> Path:
    return train(recipe(bars, tmp_path_factory.mktemp("run") / "run", epochs=8))


def test_what_a_run_leaves(run):
    assert {"recipe.yaml", "environment.json", "metrics.csv", "curves.png", "summary.json"} <= {
        p.name for p in run.iterdir()
    }
    summary = json.loads((run / "summary.json").read_text())
    assert summary["best"]["accuracy"] >= summary["last"]["accuracy"]
    assert summary["best"]["faces"] == 36  # four of the 40 validation faces have no label
    resolved = yaml.safe_load((run / "recipe.yaml").read_text())
    assert resolved["epochs"] == 8
    assert resolved["augmentation"]["rotate"] == 2
    assert json.loads((run / "environment.json").read_text())["packages"]["torch"]


def test_it_learns(run):
    summary = json.loads((run / "summary.json").read_text())
    assert summary["best"]["accuracy"] > 0.9  # three easy classes; chance is a third


def test_evaluate_reproduces_the_card(run, bars):
    card = read_card(run / "best.safetensors")
    figures = evaluate(create_engine(run / "best.safetensors"), open_split(bars, "valid"), batch_size=7)
    (measured,) = card.metrics
    for name in ("faces", "accuracy", "mean_class_accuracy", "macro_f1"):
        assert figures[name] == pytest.approx(measured[name])
    assert card.provenance["recipe"]["epochs"] == 8
    assert card.architecture == "apvit_tiny"


def test_evaluate_refuses_other_framing(run, bars):
    from dataclasses import replace

    split = open_split(bars, "valid")
    other = replace(split, metadata=replace(split.metadata, alignment="arcface-112"))
    with pytest.raises(EvaluationError, match=r"'arcface-112'.*'ferplus-48-v1'"):
        evaluate(create_engine(run / "best.safetensors"), other)


def test_a_run_stopped_after_an_epoch_and_resumed_equals_one_that_was_not(bars, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(recipe(bars, whole))

    from apvit.training import run as module

    epochs = module._Epochs

    class Stopping(epochs):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                raise RuntimeError("stopped")

    monkeypatch.setattr(module, "_Epochs", Stopping)
    with pytest.raises(RuntimeError, match="stopped"):
        train(recipe(bars, parts))
    monkeypatch.setattr(module, "_Epochs", epochs)
    train(recipe(bars, parts, resume=True))
    one, two = (apvit.load_weights(folder / "last.safetensors")[0].state_dict() for folder in (whole, parts))
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name


def test_starting_from_weights(run, bars, tmp_path, capsys):
    folder = train(recipe(bars, tmp_path / "next", init=str(run / "best.safetensors"), epochs=1, learning_rate=1e-5))
    assert json.loads((folder / "summary.json").read_text())["best"]["accuracy"] > 0.9
    assert "starting from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resume": True}, "nothing to resume"),
        ({"model": {**SMALL, "image_size": 32}}, "48 px.*32 px"),
        ({"model": {**SMALL, "token_keep": (1, 1, 1)}}, "3 entries"),
        ({"architecture": "apvit_huge"}, "apvit_huge"),
        ({"data": "nowhere"}, "nowhere"),
    ],
)
def test_refuses(bars, tmp_path, fields, message):
    fields = {"data": str(bars), **fields}
    made = recipe(bars, tmp_path / "run", **{k: v for k, v in fields.items() if k != "data"})
    from dataclasses import replace

    with pytest.raises(ValueError, match=message):
        train(replace(made, data=fields["data"]))


def test_refuses_to_overwrite_a_run(run, bars):
    with pytest.raises(TrainingError, match="already holds a run"):
        train(recipe(bars, run))


def test_init_of_another_body_is_refused(run, bars, tmp_path):
    with pytest.raises(TrainingError, match="does not fit"):
        train(recipe(bars, tmp_path / "other", model={**SMALL, "dim": 48}, init=str(run / "best.safetensors")))
