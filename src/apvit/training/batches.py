"""Faces in memory, handed out in an order that is a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from apvit.data import Split
from apvit.data.votes import target_distribution
from apvit.weights.card import Preprocessing

Batch = tuple[Tensor, Tensor]
"""Faces uint8 [B, C, S, S], target distributions float32 [B, K]."""


def seed_for(*parts: int) -> int:
    """One 64-bit seed from several integers, such as (seed, epoch, step): unlike sums, no two are alike by accident."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


class Faces(Dataset[Batch]):
    """A split's faces and targets as tensors; faces without a target are left out.

    target "votes": the annotators' distribution; "label": the label as one-hot. Raises ValueError for votes where there
    are none, and for faces of another size than the network reads.
    """

    def __init__(self, split: Split, preprocessing: Preprocessing, target: str):
        if target == "votes":
            if split.votes is None:
                raise ValueError(f"{split.metadata.dataset} has no annotators' votes: train with target 'label'")
            targets = target_distribution(split.votes)
        else:
            targets = np.eye(len(split.metadata.labels), dtype=np.float32)[split.labels] * (split.labels >= 0)[:, None]
        known = targets.sum(1) > 0
        pixels = split.select(known).pixels(preprocessing.colour)
        if pixels.shape[1] != preprocessing.size:
            raise ValueError(
                f"the prepared faces are {pixels.shape[1]} px, but the network reads {preprocessing.size} px"
            )
        if pixels.ndim == 3:
            pixels = pixels[..., None]
        self.pixels = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        self.targets = torch.from_numpy(targets[known])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        return self.pixels[indices], self.targets[indices]


class EpochOrder(Sampler[list[int]]):
    """Batches of positions in 0..count-1, shuffled by (seed, epoch); an incomplete last batch is left out."""

    def __init__(self, count: int, batch_size: int, seed: int, epoch: int):
        if count < batch_size:
            raise ValueError(f"{count} training faces do not fill one batch of {batch_size}")
        self.count, self.batch_size, self.seed, self.epoch = count, batch_size, seed, epoch

    def __len__(self) -> int:
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng(seed_for(self.seed, self.epoch)).permutation(self.count)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[start : start + self.batch_size].tolist()


def _as_is(batch: Any) -> Any:
    return batch


class FaceBatches(lightning.LightningDataModule):
    """Training batches by (seed, epoch), and validation batches in order."""

    def __init__(self, train: Faces, valid: Faces, batch_size: int, seed: int):
        super().__init__()
        self.train_faces, self.valid_faces, self.batch_size, self.seed = train, valid, batch_size, seed

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one epoch."""
        return len(EpochOrder(len(self.train_faces), self.batch_size, self.seed, 0))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Called anew each epoch (`reload_dataloaders_every_n_epochs=1`)."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        order = EpochOrder(len(self.train_faces), self.batch_size, self.seed, epoch)
        return DataLoader(self.train_faces, batch_sampler=order, collate_fn=_as_is)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Every validation face once."""
        return DataLoader(self.valid_faces, batch_size=256, collate_fn=_as_is)
