"""The command's options, and every recipe in configs/."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from apvit.cli.train import read_recipe
from apvit.data.paper_augmentation import PaperAugmentation
from apvit.nn import create_model

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
DATASETS = ("raf-db", "ferplus", "affectnet", "sfew", "expw", "aff-wild2")


def config(name: str) -> str:
    return str(CONFIGS / f"{name}.yaml")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe(path):
    recipe, seeds = read_recipe(["--config", str(path)])
    assert seeds is None
    assert recipe.data == f"prepared/{path.parent.name}"
    assert recipe.output.startswith(f"runs/{path.parent.name}_")
    with torch.device("meta"):
        model = create_model(recipe.architecture, **recipe.model)
    if path.stem == "paper" or path.stem == "transfer_base":
        assert model.config.image_size == 112
    else:
        assert recipe.stem_weights is None
        assert recipe.optimizer == ("muon" if path.stem.startswith("apvit_") else "adamw")


@pytest.mark.parametrize("dataset", DATASETS)
def test_both_kinds_are_there(dataset):
    assert {"paper.yaml", "modern.yaml"} <= {path.name for path in (CONFIGS / dataset).iterdir()}


@pytest.mark.parametrize("name", [*(f"{d}/paper" for d in DATASETS), "raf-db/transfer_base"])
def test_the_papers_recipe(name):
    recipe, _ = read_recipe(["--config", config(name)])
    official = {
        "optimizer": "sgd",
        "learning_rate": 1e-3,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "decay": "all",
        "clip_norm": 10.0,
        "batch_size": 128,
        "epochs": 10 if name.startswith("aff-wild2") else 40,
        "warmup_epochs": 0.0,
        "schedule_per": "epoch",
        "sampler": "ceil-sqrt",
        "normalise": "imagenet",
        "label_smoothing": 0.0,
        "average_decay": 0.0,
        "augmentation_policy": "paper",
        "select": "valid",
    }
    assert {field: getattr(recipe, field) for field in official} == official
    assert recipe.paper_augmentation == PaperAugmentation()


def test_the_bundled_weights_recipe():
    recipe, _ = read_recipe(["--config", config("ferplus/apvit_tiny_taught"), "--resume", "true", "--epochs", "3"])
    assert (recipe.resume, recipe.epochs, recipe.target, recipe.optimizer) == (True, 3, "votes", "muon")
    assert (recipe.decay, recipe.normalise, recipe.select) == ("matrices", "data", "valid")
    assert asdict(recipe.augmentation)["rotate"] == 10
    teacher, _ = read_recipe(["--config", config("ferplus/apvit_tiny")])
    assert recipe.teachers[0] == f"{teacher.output}/best.safetensors"
    assert replace(recipe, resume=False, epochs=10, batch_size=64, teachers=[], output=teacher.output) == teacher


@pytest.mark.parametrize(("name", "made_by"), [("apvit_tiny", "apvit_tiny_taught"), ("apvit_small", "apvit_small")])
def test_the_bundled_weights_were_trained_as_configured(name: str, made_by: str):
    run = CONFIGS.parent / "benchmarks" / "accuracy" / f"{name}.ferplus" / "recipe.yaml"
    (shipped, _), (recipe, _) = (
        read_recipe(["--config", str(run)]),
        read_recipe(["--config", config(f"ferplus/{made_by}")]),
    )
    assert len(shipped.teachers) == len(recipe.teachers)
    assert replace(shipped, teachers=recipe.teachers, output=recipe.output, resume=False) == recipe


def test_overrides():
    arguments = ["--config", config("raf-db/paper"), "--model.dim", "96", "--paper_augmentation.grey", "0.5"]
    recipe, seeds = read_recipe([*arguments, "--select", "test", "--seeds", "0,1,2"])
    assert recipe.model == {"dim": 96}
    assert recipe.paper_augmentation.grey == 0.5
    assert recipe.select == "test"
    assert seeds == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "vote"], "'crossentropy']. Got value: vote"),
        (["--learningrate", "1"], "learningrate"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_mistakes(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        read_recipe(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--seeds", "0;1"], "whole numbers with commas"), (["--epochs", "0"], "epochs must be at least 1, got 0")],
)
def test_refused_values(arguments, message):
    with pytest.raises(ValueError, match=message):
        read_recipe(arguments)


def test_help_tells_what_each_field_means(capsys):
    with pytest.raises(SystemExit):
        read_recipe(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for part in ("torchrun --nproc-per-node 4", "Faces of one optimiser step", "--paper_augmentation.grey", "--seeds"):
        assert part in text
