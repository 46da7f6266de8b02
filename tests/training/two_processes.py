"""What torchrun starts in `test_interruptions`: a run that also writes which faces each process saw, and its weights.

python -m torch.distributed.run --nproc-per-node 2 two_processes.py DATA OUTPUT
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from tests.training.bars import small_recipe

from apvit.training import run
from apvit.training.module import ExpressionModule


class Recording(ExpressionModule):
    def training_step(self, batch, batch_idx):
        seen.setdefault(self.current_epoch, []).append(batch.positions.tolist())
        return super().training_step(batch, batch_idx)

    def on_fit_end(self):
        weights = {name: tensor.clone() for name, tensor in self.state_dict().items()}
        torch.save({"seen": seen, "weights": weights}, Path(sys.argv[2]) / f"rank-{os.environ['RANK']}.pt")


seen: dict[int, list[list[int]]] = {}
run.ExpressionModule = Recording
run.train(small_recipe(Path(sys.argv[1]), Path(sys.argv[2])))
