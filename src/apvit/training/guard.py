"""A loss that is no number ends the run, with the batch that made it on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from .folder import TrainingError, how_to_go_on, write_file


class Step(NamedTuple):
    """One training step, as the guard needs it."""

    loss: Tensor  # scalar
    faces: Tensor  # uint8 [B, C, P, P]
    inputs: Tensor  # float32 [B, C, S, S], augmented and normalised
    targets: Tensor  # float32 [B, K]
    positions: Tensor  # int64 [B], numbers of the faces
    epoch: int  # counted from 0
    number: int  # of the step in its epoch, counted from 0


class LossGuard:
    """Looks at each loss one step later, when it has been computed anyway: asking at once would stall a GPU."""

    def __init__(self, folder: Path, sources: list[str]):
        self.folder, self.sources = folder, sources
        self.watched: Step | None = None

    def watch(self, step: Step | None) -> None:
        """Check the step watched before and watch `step`, or none at the end of an epoch.

        Raises TrainingError where that loss is NaN or infinite, after writing bad_batch.safetensors.
        """
        before, self.watched = self.watched, step
        if before is not None and not bool(before.loss.isfinite()):
            raise TrainingError(
                f"the loss became {float(before.loss)} in epoch {before.epoch + 1}, step {before.number + 1}; its "
                f"batch is in {self._save(before)}: lower learning_rate or clip_norm; {how_to_go_on(self.folder)}"
            )

    def _save(self, step: Step) -> Path:
        from safetensors.torch import save

        path = self.folder / "bad_batch.safetensors"
        tensors = {name: getattr(step, name).detach().cpu().contiguous() for name in ("faces", "inputs", "targets")}
        sources = [self.sources[i] for i in step.positions.tolist()]
        metadata = {"sources": json.dumps(sources), "epoch": str(step.epoch + 1), "step": str(step.number + 1)}
        write_file(path, lambda file: file.write(save(tensors, metadata)))
        return path
