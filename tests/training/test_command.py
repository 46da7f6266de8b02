"""The command's options, and every recipe in configs/."""

from __future__ import annotations

import re
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch

from apvit.cli.train import read_recipe
from apvit.data.augmentation import Augmentation
from apvit.data.paper_augmentation import PaperAugmentation
from apvit.nn import APViTConfig, create_model
from apvit.training import Recipe

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
    recipe, _ = read_recipe(["--config", config("ferplus/apvit_tiny_taught"), "--resume", "--epochs", "3"])
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
    arguments = ["--config", config("raf-db/paper"), "--model.dim", "96", "--paper-augmentation.grey", "0.5"]
    recipe, seeds = read_recipe([*arguments, "--select", "test", "--seeds", "0,1,2"])
    assert recipe.model == {"dim": 96}
    assert recipe.paper_augmentation.grey == 0.5
    assert recipe.select == "test"
    assert seeds == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        (["--batch-size", "32", "--learning-rate=1e-3"], {"batch_size": 32, "learning_rate": 1e-3}),
        (["--resume", "--no-compile"], {"resume": True, "compile": False}),
        (["--teachers", "a.safetensors,b"], {"teachers": ["a.safetensors", "b"]}),
        (["--teachers", "[a, b]"], {"teachers": ["a", "b"]}),
        (["--augmentation.erase-area", "0.1,0.3"], {"augmentation": Augmentation(erase_area=(0.1, 0.3))}),
        (
            ["--model.patch-keep", "0.8", "--model.token-keep", "1,1,.9,.9"],
            {"model": {"patch_keep": 0.8, "token_keep": [1, 1, 0.9, 0.9]}},
        ),
        (
            ["--model.patch-keep", "none", "--model.token-keep", "null"],
            {"model": {"patch_keep": None, "token_keep": None}},
        ),
        (["--device", "cuda:1"], {"device": "cuda:1"}),
        (["--device", "mps"], {"device": "mps"}),
        (["--init", "none"], {"init": None}),
        ([], {}),
    ],
)
def test_spellings(arguments, fields, capsys):
    assert read_recipe(arguments) == (Recipe(**fields), None)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["--batch_size", "32"], ["--batch-size", "32"]),
        (["--batch_size=32"], ["--batch-size", "32"]),
        (["--resume", "true"], ["--resume"]),
        (["--compile", "False"], ["--no-compile"]),
        (["--resume=true", "--model.patch_keep", "9"], ["--resume", "--model.patch-keep", "9"]),
        (["--device", "gpu"], ["--device", "cuda"]),
        (["--paper_augmentation.grey", "0"], ["--paper-augmentation.grey", "0"]),
        (["--model.token_keep", "null"], ["--model.token-keep", "none"]),
    ],
)
def test_old_spellings_are_read_with_one_warning(old, new, capsys):
    assert read_recipe(old) == read_recipe(new)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("warning: an older spelling: --")


def test_values_are_nobodys_old_spelling(capsys):
    recipe, _ = read_recipe(["--output", "--batch_size", "--data", "my_data"])
    assert (recipe.output, recipe.data) == ("--batch_size", "my_data")
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "vote"], "'votes'"),
        (["--learningrate", "1"], "No such option: --learningrate (Possible options: --learning-rate)"),
        (["--lr", "1"], "No such option: --lr (Possible options: --learning-rate)"),
        (["--model.dimm", "3"], "No such option: --model.dimm (Possible options: --model.dim)"),
        (["--augmentation.flop", "3"], "--augmentation.flip"),
        (["--epochs", "many"], "Invalid value for '--epochs'"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--seeds", "0;1"], "whole numbers with commas"),
        (["--resume", "yes"], "yes"),
    ],
)
def test_what_is_not_understood(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        read_recipe(arguments)
    assert stop.value.code == 2
    error = " ".join(line.strip("│ ") for line in capsys.readouterr().err.splitlines())
    assert message in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "epochs must be at least 1, got 0"),
        (["--device", "gpus"], "unknown device 'gpus'; known are auto, cpu, cuda, cuda:1 ... and mps"),
        (["--architecture", "apvit"], "unknown architecture 'apvit'"),
        (["--model.dim", "97"], "cannot make apvit_tiny: dim 97 is not a multiple of num_heads 4"),
        (["--model.map-drop", "0.3"], "cannot make apvit_tiny: unknown hyper-parameters map_drop"),
        (["--augmentation.erase-area", "1"], "augmentation.erase_area has the wrong number of entries, got [1]"),
        (["--augmentation.erase-area", "a,1"], "augmentation.erase_area should be a valid number, got 'a'"),
    ],
)
def test_refused_values(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_recipe(arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batchsize: 3", "unknown field batchsize; did you mean batch_size?"),
        ("batch-size: 3", "unknown field batch-size; did you mean batch_size?"),
        ("lr: 1", "unknown field lr; did you mean learning_rate?"),
        ("xyz: 1", "unknown field xyz; known are data, output"),
        ("augmentation: {flop: 1}", "unknown field augmentation.flop; did you mean augmentation.flip?"),
        ("epochs: many", "epochs should be a valid integer, got 'many'"),
        ("epochs: 2.5", "epochs should be a valid integer, got 2.5"),
        ("target: vote", "target should be 'label', 'votes'"),
        ("augmentation: 3", "augmentation should be a dictionary"),
        ("teachers: a", "teachers should be a valid list, got 'a'"),
        ("paper_augmentation: {jitter: [1, 2]}", "paper_augmentation.jitter has the wrong number of entries"),
        ("- 1", "must hold fields of a recipe"),
        ("a: [", "is not a YAML file"),
    ],
)
def test_a_mistake_in_a_file_is_one_sentence_with_its_name(text, message, tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read_recipe(["--config", str(path)])
    assert str(path) in str(error.value)


def test_a_hyper_parameter_in_a_file_that_there_is_not(tmp_path):
    (tmp_path / "mine.yaml").write_text("model: {dimm: 3}")
    with pytest.raises(ValueError, match=r"cannot make apvit_tiny: unknown hyper-parameters dimm; did you mean dim\?"):
        read_recipe(["--config", str(tmp_path / "mine.yaml")])


def test_files_are_laid_over_each_other_and_options_over_them(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text(
        "\ufeffteachers: [t]\nepochs: 3\nlearning_rate: 1e-3\nmodel: {dim: 96, patch_keep: 9}\nseeds: null\n"
    )
    (tmp_path / "b.yaml").write_text("target: probability\nepochs: 4\nmodel: {dim: 64}\ndevice: gpu")  # fits no teacher
    files = ["--config", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "b.yaml")]
    recipe, _ = read_recipe(["--target", "votes", *files, "--model.patch-keep", "none"])
    model = {"dim": 64, "patch_keep": None}
    assert recipe == Recipe(teachers=["t"], epochs=4, learning_rate=1e-3, model=model, target="votes", device="cuda")
    assert capsys.readouterr().err == f"warning: {tmp_path / 'b.yaml'}: device gpu is now called cuda\n"
    with pytest.raises(ValueError, match="cannot be mixed into target 'probability'"):
        read_recipe(files)


def test_the_printed_configuration_is_a_configuration(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        read_recipe(["--epochs", "5", "--model.patch-keep", "none", "--print-config"])
    assert not stop.value.code
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    recipe, _ = read_recipe(["--config", str(tmp_path / "printed.yaml")])
    assert recipe == Recipe(epochs=5, model={"patch_keep": None})


def test_help_tells_what_each_field_means(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit):
        read_recipe(["--help"])
    text = capsys.readouterr().out
    words = " ".join(text.replace("│", " ").split())
    options = set(re.findall(r"│ +(--[a-z.-]+)", text))
    for part in (
        "torchrun --nproc-per-node 4",
        "Faces of one optimizer step",
        "[default: 0.02,0.2]",
        "Augmentation: the",
    ):
        assert part in words
    for field in fields(Recipe):
        inner = {"model": APViTConfig, "augmentation": Augmentation, "paper_augmentation": PaperAugmentation}
        names = (
            [f"{field.name}.{each.name}" for each in fields(inner[field.name])] if field.name in inner else [field.name]
        )
        for name in set(names) - {"model.family", "model.num_classes"}:
            assert f"--{name.replace('_', '-')}" in options
