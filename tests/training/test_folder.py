"""Files that are written whole or not at all, checkpoints among them; where decoded faces lie."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tests.training.bars import write_bars

from apvit.data import DataError, open_split
from apvit.training.checkpoints import WholeCheckpointIO, read_checkpoint
from apvit.training.folder import TrainingError, read_metrics, write_metrics, write_text
from apvit.training.pixels import Store, decode, remove_decoded
from apvit.training.processes import Processes, this_process


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: what a full disk does, without filling one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_checkpoint_that_finds_no_room_leaves_the_previous_one(tmp_path):
    path, io = tmp_path / "last.ckpt", WholeCheckpointIO()
    io.save_checkpoint({"state_dict": {"w": torch.ones(3)}, "epoch": 0}, path)
    with room_for(10_000), pytest.raises(TrainingError, match=r"cannot write .*last.ckpt: .*is kept: make room"):
        io.save_checkpoint({"state_dict": {"w": torch.ones(100_000)}, "epoch": 1}, path)
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
    assert read_checkpoint(path)["epoch"] == 0


def test_a_text_that_finds_no_room(tmp_path):
    with room_for(100), pytest.raises(TrainingError, match=r"cannot write .*a.json: [^;]*: make room"):
        write_text(tmp_path / "a.json", "x" * 1000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 torn"])
def test_what_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"last.ckpt is not a checkpoint of a run"):
        read_checkpoint(path)


def test_metrics_come_back(tmp_path):
    path = tmp_path / "metrics.csv"
    metrics = {0: {"step": 5.0, "train_loss": 1.25}, 1: {"step": 10.0, "train_loss": 0.5, "valid_accuracy": 0.75}}
    write_metrics(path, metrics)
    assert read_metrics(path) == metrics
    # Lightning's own logger, which runs of before used, writes two lines an epoch.
    path.write_text("epoch,step,train_loss,valid_accuracy\n0,4,,0.5\n0,4,1.5,\n")
    assert read_metrics(path) == {0: {"step": 4.0, "train_loss": 1.5, "valid_accuracy": 0.5}}


def store(folder: Path, limit: float, processes: Processes = Processes()) -> Store:  # noqa: B008
    return Store(limit, folder, processes)


@pytest.mark.parametrize(("colour", "size"), [("grey", None), ("rgb", None), ("rgb", 48), ("grey", 100)])
def test_mapped_faces_are_those_in_memory(large_bars, tmp_path, colour, size):
    splits = [open_split(large_bars, name) for name in ("train", "valid")]
    here = decode(splits, colour, size, store(tmp_path, 1e9))
    assert here.shape == (84, 3 if colour == "rgb" else 1, size or 70, size or 70)
    assert not list(tmp_path.iterdir())
    mapped = decode(splits, colour, size, store(tmp_path, 1000))
    (file,) = tmp_path.iterdir()
    assert torch.equal(here, mapped)
    written = file.stat().st_mtime_ns
    # Another process of the machine, and a resumed run, use what is there.
    assert torch.equal(here, decode(splits, colour, size, store(tmp_path, 0, Processes(1, 1, 2, 2))))
    assert torch.equal(here, decode(splits, colour, size, store(tmp_path, 0)))
    assert file.stat().st_mtime_ns == written
    remove_decoded(tmp_path)
    assert not list(tmp_path.iterdir())


def test_faces_that_find_no_room(large_bars, tmp_path):
    with room_for(100_000), pytest.raises(TrainingError, match=r"decoded faces.*memory_limit"):
        decode([open_split(large_bars, "train")], "rgb", None, store(tmp_path, 0))
    assert not list(tmp_path.iterdir())


def test_splits_of_two_sizes_are_refused(bars, large_bars, tmp_path):
    splits = [open_split(bars, "train"), open_split(large_bars, "valid")]
    with pytest.raises(DataError, match=r"1-0.png is 70 px and the first face is 48 px"):
        decode(splits, "grey", None, store(tmp_path, 1e9))


def test_mixed_splits_of_one_dataset(tmp_path):
    write_bars(tmp_path, "train", 5, 0)
    grey = decode([open_split(tmp_path, "train")], "rgb", None, store(tmp_path, 1e9))
    assert torch.equal(grey[:, 0], grey[:, 2])  # an rgb network gets a grey picture three times


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Processes()),
        ({"RANK": "3", "WORLD_SIZE": "4"}, Processes()),  # another launcher's variables do not make a torchrun
        (
            {"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"},
            Processes(5, 1, 8, 4),
        ),
    ],
)
def test_processes(environment, expected):
    assert this_process(environment) == expected
    if expected.world > 1:
        everywhere = {"devices": 4, "num_nodes": 2, "strategy": "ddp"}
        assert expected.trainer("cuda") == {"accelerator": "cuda", **everywhere}
        with pytest.raises(ValueError, match="device cuda:1 is one GPU, and 8 processes need one each"):
            expected.trainer("cuda:1")


@pytest.mark.parametrize(
    ("device", "accelerator", "devices"),
    [("auto", "auto", 1), ("cpu", "cpu", 1), ("cuda", "cuda", 1), ("cuda:1", "cuda", [1]), ("mps", "mps", 1)],
)
def test_where_lightning_trains(device, accelerator, devices):
    assert Processes().trainer(device) == {"accelerator": accelerator, "devices": devices}
