"""Faces and their targets, handed out in an order that is a function of (seed, epoch) and of the process alone."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from apvit.data import Split
from apvit.expressions import LabelSpace
from apvit.weights.card import Preprocessing

from .pixels import Store, decode
from .processes import Processes
from .recipe import Recipe
from .samplers import ProcessBatches, epoch_order
from .targets import draw_labels, split_targets


class Batch(NamedTuple):
    """Some faces of a split."""

    faces: Tensor  # uint8 [B, C, P, P]
    targets: Tensor  # float32 [B, K], rows that sum to 1
    positions: Tensor  # int64 [B], numbers of the faces in `Faces`


@dataclass(frozen=True, eq=False)
class Faces(Dataset[Batch]):
    """Faces that have a target, from one or more splits of a dataset."""

    pixels: Tensor
    """uint8 [N, C, P, P]."""
    targets: Tensor
    """float32 [N, K]."""
    sources: list[str]
    """Names of the pictures."""
    groups: list[str]
    """Faces that must not straddle splits share one."""

    @classmethod
    def of(
        cls,
        splits: Sequence[Split],
        preprocessing: Preprocessing,
        target: str,
        store: Store,
        *,
        as_prepared: bool = False,
        labels: LabelSpace | None = None,
    ) -> Faces:
        """Decode the faces of `splits` that have a target (`targets.split_targets`).

        They come in the size the network reads, or `as_prepared`, for an augmentation that resizes. labels: what the
        columns of the targets mean, by default the first split's; a printed warning counts faces of other expressions,
        which are left out. Raises ValueError for votes where there are none, and where no face is left.
        """
        labels = labels or splits[0].metadata.labels
        for split in splits:
            _warn_of_others(split, labels)
        targets = [split_targets(split, target, labels) for split in splits]
        known = [t.sum(1) > 0 for t in targets]
        kept = [split.select(k) for split, k in zip(splits, known, strict=True)]
        if not any(len(split) for split in kept):
            meta = splits[0].metadata
            raise ValueError(f"no face of the {meta.split} split of {meta.dataset} has a target {target!r}")
        return cls(
            decode(kept, preprocessing.colour, None if as_prepared else preprocessing.size, store),
            torch.from_numpy(np.concatenate([t[k] for t, k in zip(targets, known, strict=True)])),
            [source for split in kept for source in split.sources],
            [group for split in kept for group in split.groups],
        )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, positions: list[int]) -> Batch:
        chosen = torch.tensor(positions)
        return Batch(self.pixels[chosen], self.targets[chosen], chosen)

    @property
    def classes(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """[N] the class that each face counts for: its label, or what most annotators saw."""
        return self.targets.argmax(1).numpy()

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over all faces, in units of pixel / 255, to 4 digits."""
        channels = self.pixels.shape[1]
        total, squares = torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
        for start in range(0, len(self), 1024):
            x = self.pixels[start : start + 1024].double() / 255
            total += x.sum((0, 2, 3))
            squares += (x * x).sum((0, 2, 3))
        count = self.pixels.numel() / channels
        mean = total / count
        std = (squares / count - mean * mean).clamp(min=0).sqrt()
        return tuple(round(float(v), 4) for v in mean), tuple(round(float(v), 4) for v in std)


def _warn_of_others(split: Split, labels: LabelSpace) -> None:
    meta = split.metadata
    names = Counter(meta.labels.expressions[label] for label in split.labels[split.labels >= 0])
    if others := {name: count for name, count in names.items() if name not in labels.expressions}:
        counts = ", ".join(f"{count:,} of {name}" for name, count in others.items())
        text = f"warning: faces of the {meta.split} split are left out, as the network has no class for them: {counts}"
        print(text, file=sys.stderr)


def _as_is(batch: Any) -> Any:
    return batch


class FaceBatches(lightning.LightningDataModule):
    """This process's training batches of each epoch, and its stripe of the faces to select on, in order."""

    def __init__(self, train: Faces, held_out: Faces, recipe: Recipe, processes: Processes):
        super().__init__()
        self.train_faces, self.held_out, self.recipe, self.processes = train, held_out, recipe, processes
        self.classes = train.classes
        self._batches(0)  # refuses now what could not be dealt later

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one epoch."""
        return len(self._order(0)) // self.recipe.batch_size

    def _order(self, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        return epoch_order(self.classes, self.recipe.sampler, self.recipe.seed, epoch)

    def _batches(self, epoch: int) -> ProcessBatches:
        p = self.processes
        return ProcessBatches(
            self._order(epoch), self.recipe.batch_size, rank=p.rank, world=p.world, parts=self.recipe.accumulate
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Called anew each epoch (`reload_dataloaders_every_n_epochs=1`)."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        faces = self.train_faces
        if self.recipe.target == "probability":
            drawn = draw_labels(faces.targets.numpy(), self.recipe.seed, epoch)
            faces = replace(faces, targets=torch.from_numpy(drawn))
        # Faces lie decoded and are augmented in batches on the device: worker processes would only cost.
        return DataLoader(faces, batch_sampler=self._batches(epoch), collate_fn=_as_is, pin_memory=self._pinned)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Every face to select on once, over all processes together."""
        stripe = np.arange(self.processes.rank, len(self.held_out), self.processes.world)
        batches = [part.tolist() for part in np.split(stripe, range(256, len(stripe), 256))]
        return DataLoader(self.held_out, batch_sampler=batches, collate_fn=_as_is, pin_memory=self._pinned)

    @property
    def _pinned(self) -> bool:
        return torch.cuda.is_available() and self.recipe.device != "cpu"
