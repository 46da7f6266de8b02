"""A run's checkpoints: the best epoch and the last one, each written whole or not at all."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from .folder import TrainingError, write_file


class WholeCheckpointIO(TorchCheckpointIO):
    """Checkpoints of tensors and plain values, on a local disk.

    Lightning's own writer goes through another folder, from where a file cannot always be renamed.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write `checkpoint`; TrainingError for a full disk, which leaves the previous file."""
        write_file(Path(path), lambda file: torch.save(checkpoint, file))

    def load_checkpoint(
        self, path: Any, map_location: Any | None = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint; TrainingError for a file that is none."""
        return read_checkpoint(Path(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint at `path`, on the CPU; nothing in it runs. TrainingError for a file that is damaged or none."""
    try:
        checkpoint = dict(torch.load(path, map_location="cpu", weights_only=True))
        if not {"state_dict", "epoch"} <= checkpoint.keys():
            raise KeyError("it has no weights")
    except Exception as error:  # torch and pickle raise many kinds for a file that is no checkpoint
        cause = (str(error) or type(error).__name__).splitlines()[0]
        raise TrainingError(f"{path} is not a checkpoint of a run: {cause}") from error
    return checkpoint


class BestAndLast(Checkpoint):
    """Writes last.ckpt at the end of every epoch, and best.ckpt where `monitor` rose above all epochs before.

    Lightning's ModelCheckpoint writes its last.ckpt only in epochs that are also the best, and forgets what the best
    was when the run folder is moved.
    """

    def __init__(self, folder: Path, monitor: str):
        self.folder, self.monitor = folder, monitor
        self.best_score = -math.inf

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Called after the other callbacks, all processes together."""
        score = float(trainer.callback_metrics[self.monitor])
        if score > self.best_score:
            self.best_score = score
            trainer.save_checkpoint(self.folder / "best.ckpt")
        # Behind best.ckpt: a kill between the two repeats this epoch, which then is the best one again.
        trainer.save_checkpoint(self.folder / "last.ckpt")

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run has to know."""
        return {"best_score": self.best_score}

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on from the best score so far, also that of a run which Lightning's ModelCheckpoint kept."""
        for state in checkpoint.get("callbacks", {}).values():
            if (score := state.get("best_score", state.get("best_model_score"))) is not None:
                self.best_score = float(score)
