"""A run that is killed, and a run of several processes. Minutes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
import yaml
from tests.training.bars import small_recipe

from apvit.data import open_split
from apvit.training.batches import FaceBatches, Faces
from apvit.training.checkpoints import read_checkpoint
from apvit.training.folder import read_metrics
from apvit.training.module import ExpressionModule
from apvit.training.pixels import Store
from apvit.training.processes import Processes
from apvit.training.recipe import plain
from apvit.training.samplers import epoch_order
from apvit.training.starting import new_model, normalised, preprocessing_of

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
APVIT = [sys.executable, "-c", "from apvit.cli import main; main()"]


def command(folder: Path, data: Path, output: Path, *arguments: str) -> list[str]:
    """Three epochs of 45 steps, with everything that is random."""
    recipe = small_recipe(data, output, epochs=3, batch_size=2, target="probability", average_decay=0.9)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(plain(recipe)))
    return [*APVIT, "train", "--config", str(path), *arguments]


def test_killed_in_the_middle_of_an_epoch_and_resumed(bars, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(tmp_path, bars, whole), env=ENVIRONMENT, check=True, stderr=subprocess.DEVNULL)

    arguments = command(tmp_path, bars, killed)
    with subprocess.Popen(arguments, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("epoch 1/3"):
                break
        last = killed / "checkpoints" / "last.ckpt"
        while not last.is_file():  # written behind the line
            time.sleep(0.005)
        time.sleep(0.1)  # into the second epoch
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert read_checkpoint(last)["epoch"] == 0
    assert not (killed / "summary.json").exists()

    resumed = command(tmp_path, bars, killed, "--resume")
    subprocess.run(resumed, env=ENVIRONMENT, check=True, stderr=subprocess.DEVNULL)
    one, two = (read_checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (whole, killed))
    assert one["epoch"] == two["epoch"] == 2
    assert any(name.startswith("average.") for name in one["state_dict"])
    for name, tensor in one["state_dict"].items():
        assert torch.equal(tensor, two["state_dict"][name]), name
    assert read_metrics(whole / "metrics.csv") == read_metrics(killed / "metrics.csv")
    assert not list(killed.rglob("*.tmp"))


def test_two_processes(bars, tmp_path):
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *(str(Path(__file__).with_name("two_processes.py")), str(bars), str(tmp_path)),
        ],
        env=ENVIRONMENT,
        check=True,
        timeout=300,
    )
    first, second = (torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1))

    # Order: every step of one process, halved; nobody twice.
    recipe = small_recipe(bars, tmp_path)
    for epoch in range(2):
        order = epoch_order(np.zeros(96, np.int64), "none", recipe.seed, epoch)
        for step, faces in enumerate(order.reshape(6, 16).tolist()):
            halves = first["seen"][epoch][step], second["seen"][epoch][step]
            assert [len(half) for half in halves] == [8, 8]
            assert sorted(halves[0] + halves[1]) == sorted(faces)

    # Replicas.
    assert first["weights"].keys() == second["weights"].keys()
    for name, tensor in first["weights"].items():
        assert torch.equal(tensor, second["weights"][name]), name

    # The same figures of the same weights from one process.
    splits = {name: open_split(bars, name) for name in ("train", "valid")}
    model = new_model(recipe, 8)
    preprocessing = preprocessing_of(model, splits["train"].metadata)
    store = Store(1e9, tmp_path, Processes())
    faces = Faces.of([splits["train"]], preprocessing, "votes", store)
    held_out = Faces.of([splits["valid"]], preprocessing, "label", store)
    preprocessing = normalised(preprocessing, faces, "data")
    batches = FaceBatches(faces, held_out, recipe, Processes())
    module = ExpressionModule(model, recipe, preprocessing, batches, tmp_path)
    module.load_state_dict(first["weights"])
    trainer = lightning.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.validate(module, batches, verbose=False)
    together = read_metrics(tmp_path / "metrics.csv")[1]
    for name in ("valid_accuracy", "valid_mean_class_accuracy", "valid_macro_f1", "valid_loss"):
        assert together[name] == pytest.approx(float(trainer.callback_metrics[name]), abs=1e-6), name
