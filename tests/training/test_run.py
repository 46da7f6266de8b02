"""A whole run on synthetic faces: what it leaves behind, selection, starting weights, resuming, refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file
from tests.training.bars import SMALL, small_recipe
from tests.training.test_folder import room_for

import apvit
from apvit.data import open_split
from apvit.engines import create_engine
from apvit.evaluation import EvaluationError, evaluate
from apvit.nn import create_model
from apvit.training import TrainingError, train, train_seeds
from apvit.training import run as run_module
from apvit.training.folder import read_metrics
from apvit.training.starting import IMAGENET_MEAN, preprocessing_of, start
from apvit.training.targets import split_targets
from apvit.weights import read_card
from apvit.weights.pretrained import ir50_name


@pytest.fixture(scope="module")
def run(bars, tmp_path_factory) -> Path:
    return train(small_recipe(bars, tmp_path_factory.mktemp("run") / "run", epochs=8))


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def test_what_a_run_leaves(run):
    assert {"recipe.yaml", "environment.json", "metrics.csv", "curves.png", "summary.json"} <= {
        p.name for p in run.iterdir()
    }
    said = summary(run)
    assert said["best"]["accuracy"] >= said["last"]["accuracy"]
    assert said["gap"]["accuracy"] == pytest.approx(said["best"]["accuracy"] - said["last"]["accuracy"])
    assert said["best"]["faces"] == 36  # four of the 40 validation faces have no label
    assert "test" not in said
    assert (said["runtime"]["engine"], said["runtime"]["device"]) == ("torch", "cpu")
    assert sorted(read_metrics(run / "metrics.csv")) == list(range(8))
    resolved = yaml.safe_load((run / "recipe.yaml").read_text())
    assert resolved["epochs"] == 8
    assert resolved["augmentation"]["rotate"] == 2
    assert json.loads((run / "environment.json").read_text())["packages"]["torch"]


def test_it_learns(run):
    assert summary(run)["best"]["accuracy"] > 0.9  # three easy classes; chance is a third


def test_evaluate_reproduces_the_card(run, bars):
    card = read_card(run / "best.safetensors")
    figures = evaluate(create_engine(run / "best.safetensors", "torch"), open_split(bars, "valid"), batch_size=7)
    (measured,) = card.metrics
    for name in ("faces", "accuracy", "mean_class_accuracy", "macro_f1"):
        assert figures[name] == pytest.approx(measured[name])
    assert card.provenance["recipe"]["epochs"] == 8
    assert card.provenance["selected_on"] == "valid"
    classes = split_targets(open_split(bars, "train"), card.provenance["recipe"]["target"]).argmax(1).tolist()
    counts = [classes.count(k) for k in range(len(card.labels))]
    assert card.provenance["faces"] == dict(zip(card.labels.expressions, counts, strict=True))
    assert card.architecture == "apvit_tiny"


def test_evaluate_refuses_other_framing(run, bars):
    split = open_split(bars, "valid")
    other = replace(split, metadata=replace(split.metadata, alignment="arcface-112"))
    with pytest.raises(EvaluationError, match=r"'arcface-112'.*'ferplus-48-v1'"):
        evaluate(create_engine(run / "best.safetensors", "torch"), other)


def test_the_test_split_is_read_once_with_the_selected_weights(tested_bars, tmp_path, capsys):
    folder = train(small_recipe(tested_bars, tmp_path / "run"))
    said = summary(folder)
    assert said["test"]["faces"] == 27
    assert said["test"]["epoch"] == said["best"]["epoch"]
    assert [m["split"] for m in read_card(folder / "best.safetensors").metrics] == ["valid", "test"]
    assert [m["split"] for m in read_card(folder / "last.safetensors").metrics] == ["valid"]
    assert not any("test" in name for values in read_metrics(folder / "metrics.csv").values() for name in values)
    printed = capsys.readouterr().err
    assert "the gap in accuracy is" in printed
    assert "test, read once, with the best epoch" in printed


def test_selecting_on_test_says_so(tested_bars, tmp_path, capsys):
    folder = train(small_recipe(tested_bars, tmp_path / "run", select="test", select_by="macro_f1", epochs=1))
    said = summary(folder)
    assert (said["select"], said["best"]["faces"], said["train_faces"]) == ("test", 27, 136)  # 96 + 40, all have votes
    card = read_card(folder / "best.safetensors")
    assert [m["split"] for m in card.metrics] == ["test"]
    assert (card.provenance["split"], card.provenance["selected_on"]) == ("train+valid", "test")
    assert "selecting the best epoch on TEST" in capsys.readouterr().err


def test_the_papers_recipe_on_larger_faces(large_bars, tmp_path, capsys):
    folder = train(
        small_recipe(
            large_bars,
            tmp_path / "run",
            model={**SMALL, "in_channels": 3},
            target="label",
            normalise="imagenet",
            sampler="ceil-sqrt",
            augmentation_policy="paper",
            optimizer="sgd",
            learning_rate=0.01,
            weight_decay=5e-4,
            decay="all",
            schedule_per="epoch",
            warmup_epochs=0,
            clip_norm=10,
            average_decay=0,
            accumulate=2,
            memory_limit=0,  # everything through the mapped file
        )
    )
    card = read_card(folder / "best.safetensors")
    assert card.preprocessing.mean == IMAGENET_MEAN
    assert (card.preprocessing.size, card.preprocessing.colour) == (48, "rgb")
    assert not list(folder.glob("faces-*"))
    # 57 labelled faces; of three classes none is rarer than 0.15. Three steps of 16 an epoch, in two parts each.
    assert read_metrics(folder / "metrics.csv")[1]["step"] == 6
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, tensor in checkpoint.items():  # no average: the weights themselves
        if name.startswith("model."):
            assert torch.equal(tensor, checkpoint[name.replace("model.", "average.", 1)]), name


DROPPING = {name: value for name, value in SMALL.items() if name != "token_keep"} | {"image_size": 48, "in_channels": 1}


def test_a_run_stopped_moved_and_resumed_equals_one_that_was_not(bars, tmp_path, monkeypatch, capsys):
    fields = {
        "architecture": "transfer_base",  # drops maps and heads at random
        "model": DROPPING,
        "target": "probability",
        "sampler": "balanced",
        "epochs": 3,
    }
    whole, parts, moved = tmp_path / "whole", tmp_path / "parts", tmp_path / "moved"
    train(small_recipe(bars, whole, **fields))

    class Stopping(run_module.EpochReport):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                raise RuntimeError("stopped")

    with monkeypatch.context() as patched:
        patched.setattr(run_module, "EpochReport", Stopping)
        with pytest.raises(RuntimeError, match="stopped"):
            train(small_recipe(bars, parts, **fields))
    shutil.move(parts, moved)
    train(small_recipe(bars, moved, resume=True, **fields))
    for name in ("best", "last"):
        one, two = (torch.load(f / "checkpoints" / f"{name}.ckpt", weights_only=True) for f in (whole, moved))
        assert one["epoch"] == two["epoch"]
        for key, tensor in one["state_dict"].items():
            assert torch.equal(tensor, two["state_dict"][key]), key
    assert summary(whole) == summary(moved)
    assert read_metrics(whole / "metrics.csv") == read_metrics(moved / "metrics.csv")
    assert yaml.safe_load((moved / "recipe.yaml").read_text())["resume"] is False
    assert apvit.load_weights(moved / "last.safetensors")[1].architecture == "transfer_base"


def test_a_complete_run_can_be_exported_again_and_go_on_longer(bars, tmp_path, capsys):
    folder = train(small_recipe(bars, tmp_path / "run", epochs=1))
    before = summary(folder)
    (folder / "summary.json").unlink()
    train(small_recipe(bars, folder, epochs=1, resume=True))
    assert summary(folder) == before
    train(small_recipe(bars, folder, epochs=2, resume=True))
    assert "resuming with epochs 2; the run began with 1" in capsys.readouterr().err
    assert summary(folder)["last"]["epoch"] == 2
    with pytest.raises(TrainingError, match=r"optimizer 'adamw' and cannot be resumed with 'sgd'"):
        train(small_recipe(bars, folder, optimizer="sgd", resume=True))


def test_a_full_disk_leaves_the_previous_checkpoint(bars, tmp_path):
    folder = train(small_recipe(bars, tmp_path / "run", epochs=1))
    last = folder / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    with (
        room_for(len(before) // 2),
        pytest.raises(TrainingError, match=r"cannot write .*\.ckpt: .*resume: true"),
    ):
        train(small_recipe(bars, folder, epochs=2, resume=True))
    assert last.read_bytes() == before
    assert {p.name for p in last.parent.iterdir()} == {"best.ckpt", "last.ckpt"}
    train(small_recipe(bars, folder, epochs=2, resume=True))
    assert summary(folder)["last"]["epoch"] == 2


def test_a_loss_that_is_no_number_stops_with_its_batch(bars, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(TrainingError, match=r"the loss became nan in epoch 1, step \d.*bad_batch.safetensors"):
        train(small_recipe(bars, folder, optimizer="sgd", learning_rate=1e30, clip_norm=0, warmup_epochs=0))
    assert not (folder / "checkpoints" / "last.ckpt").exists()
    with safe_open(folder / "bad_batch.safetensors", "pt") as file:
        assert file.get_tensor("faces").shape == (16, 1, 48, 48)
        assert file.get_tensor("inputs").isfinite().all()  # the weights are to blame, not the faces
        sources = json.loads(file.metadata()["sources"])
    names = set(open_split(bars, "train").sources)
    assert len(sources) == 16
    assert set(sources) <= names


def test_seeds(tested_bars, tmp_path, capsys):
    recipe = small_recipe(tested_bars, tmp_path / "runs", epochs=1)
    folder = train_seeds(recipe, [3, 4])
    said = json.loads((folder / "seeds.json").read_text())
    values = [summary(folder / f"seed-{seed}")["test"]["accuracy"] for seed in (3, 4)]
    spread = said["test"]["accuracy"]
    assert (spread["min"], spread["max"]) == (min(values), max(values))
    assert spread["mean"] == pytest.approx(sum(values) / 2)
    assert spread["std"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert {"best", "last", "test"} <= said.keys()
    assert "best epoch on test, accuracy: " in capsys.readouterr().err
    assert yaml.safe_load((folder / "seed-3" / "recipe.yaml").read_text())["seed"] == 3
    # What is complete stays; what is not begun starts.
    weights = folder / "seed-3" / "best.safetensors"
    written = weights.stat().st_mtime_ns
    train_seeds(replace(recipe, resume=True), [3, 5])
    assert weights.stat().st_mtime_ns == written
    assert json.loads((folder / "seeds.json").read_text())["seeds"] == [3, 5]
    with pytest.raises(TrainingError, match="different numbers"):
        train_seeds(recipe, [1, 1])


def test_starting_from_weights(run, bars, tmp_path, capsys):
    folder = train(
        small_recipe(bars, tmp_path / "next", init=str(run / "best.safetensors"), epochs=1, learning_rate=1e-5)
    )
    assert summary(folder)["best"]["accuracy"] > 0.9
    assert "starting from" in capsys.readouterr().err


def test_starting_from_a_face_recognition_stem(bars, tmp_path, capsys):
    fields = {**SMALL, "patch_keep": None, "stem_width": 4, "stem_stages": ((4, 3), (6, 4), (8, 14))}
    model = create_model("apvit_tiny", **fields)
    stem = {name: torch.rand_like(t.float()) for name, t in model.state_dict().items() if name.startswith("stem.")}
    stem = {name: t for name, t in stem.items() if not name.endswith("num_batches_tracked")}
    path = tmp_path / "ir50.safetensors"
    save_file({ir50_name(name): tensor for name, tensor in stem.items()}, path)
    data = open_split(bars, "train").metadata
    recipe = small_recipe(bars, tmp_path, stem_weights=str(path))
    assert start(model, recipe, preprocessing_of(model, data), data.labels) == []
    for name, tensor in stem.items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert f"stem from {path}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("epoch", "message"),
    [(0, "start again: no epoch was completed in"), (1, "resume: true goes on from the last whole epoch in")],
)
def test_how_to_go_on_after_ctrl_c(bars, tmp_path, monkeypatch, capsys, epoch, message):
    class Stopping(run_module.EpochReport):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == epoch:
                raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "EpochReport", Stopping)
    with pytest.raises(KeyboardInterrupt):
        train(small_recipe(bars, tmp_path / "run"))
    assert f"stopped: {message} {tmp_path / 'run'}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resume": True}, "nothing to resume"),
        ({"model": {**SMALL, "token_keep": (1, 1, 1)}}, "3 entries"),
        ({"architecture": "apvit_huge"}, "apvit_huge"),
        ({"data": "nowhere"}, "nowhere"),
        ({"normalise": "imagenet"}, "'imagenet' is for RGB"),
        ({"select": "test"}, "test"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there"),
        ({"batch_size": 100}, "96 training faces do not fill one batch of 100"),
        ({"transformer_weights": "nowhere.pth", "model": {**SMALL, "num_heads": 8}}, "nowhere.pth"),
    ],
)
def test_refuses(bars, tmp_path, fields, message):
    others = {name: value for name, value in fields.items() if name != "data"}
    with pytest.raises(ValueError, match=message):
        train(small_recipe(fields.get("data", bars), tmp_path / "run", **others))


def test_refuses_to_overwrite_a_run(run, bars):
    with pytest.raises(TrainingError, match="already holds a run"):
        train(small_recipe(bars, run))


def test_init_of_another_body_is_refused(run, bars, tmp_path):
    with pytest.raises(TrainingError, match="does not fit"):
        train(small_recipe(bars, tmp_path / "other", model={**SMALL, "dim": 48}, init=str(run / "best.safetensors")))
