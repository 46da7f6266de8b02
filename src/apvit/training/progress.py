"""What people see of a run: a line and a picture after every epoch."""

from __future__ import annotations

import sys
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback

from .curves import draw_curves
from .folder import Metrics, read_metrics, write_metrics


class EpochReport(Callback):
    """After every epoch one line on standard error, metrics.csv and curves.png, by the first process."""

    def __init__(self, folder: Path, split: str):
        self.folder, self.split = folder, split
        self.metrics: Metrics = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Keep the figures of the epochs that a resumed run does not repeat."""
        path = self.folder / "metrics.csv"
        if trainer.current_epoch and path.is_file():
            self.metrics = {e: values for e, values in read_metrics(path).items() if e < trainer.current_epoch}

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write and print the epoch's figures."""
        if not trainer.is_global_zero:
            return
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        text = "  ".join(f"{name} {figures[name]:.4f}" for name in sorted(figures))
        print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {text}", file=sys.stderr, flush=True)
        self.metrics[trainer.current_epoch] = {"step": trainer.global_step, **figures}
        write_metrics(self.folder / "metrics.csv", self.metrics)
        draw_curves(self.metrics, self.folder / "curves.png", self.folder.name, self.split)
