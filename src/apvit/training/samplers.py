"""The order of the training faces: a function of (seed, epoch), cut into every process's batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from .randomness import ORDER, seed_for

_Ints = npt.NDArray[np.int64]

CEIL_SQRT_FREQUENCY = 0.15
"""Classes that are rarer than this are repeated by the paper's sampler."""


def ceil_sqrt_repeats(classes: npt.NDArray[np.integer[Any]]) -> _Ints:
    """How often each face comes in an epoch: [N], ceil(max(1, sqrt(0.15 / frequency of its class))).

    classes: [N]. The official sampler (`configs/apvit/RAF.py`); RAF-DB's 12,271 training faces become 15,545.
    """
    frequency = np.bincount(classes) / len(classes)
    repeats: _Ints = np.ceil(np.sqrt(CEIL_SQRT_FREQUENCY / frequency[classes]).clip(1)).astype(np.int64)
    return repeats


def epoch_order(classes: npt.NDArray[np.integer[Any]], sampler: str, seed: int, epoch: int) -> _Ints:
    """Positions of the faces in the order of one epoch.

    classes: [N], the class of each face. "none": every face once; "ceil-sqrt": as often as `ceil_sqrt_repeats` says;
    "balanced": N positions, every class that occurs equally often (to one face), each going round through its faces so
    that none comes twice more than another.
    """
    random = np.random.default_rng(seed_for(seed, epoch, ORDER))
    faces = np.arange(len(classes))
    if sampler == "ceil-sqrt":
        faces = np.repeat(faces, ceil_sqrt_repeats(classes))
    elif sampler == "balanced":
        occurring = random.permutation(np.unique(classes))  # which classes get the remainder changes
        shares = np.full(len(occurring), len(classes) // len(occurring))
        shares[: len(classes) % len(occurring)] += 1
        faces = np.concatenate(
            [
                np.resize(random.permutation(np.flatnonzero(classes == c)), share)
                for c, share in zip(occurring, shares, strict=True)
            ]
        )
    return random.permutation(faces)


class ProcessBatches(Sampler[list[int]]):
    """The batches that one of several processes computes; an incomplete last one is left out.

    Every `batch_size` positions of `order` are one optimiser step. They are dealt to `world` processes in `parts` parts
    each, so that the steps contain the same faces however many processes there are. Raises ValueError where the faces
    do not fill one step, or a step cannot be dealt evenly.
    """

    def __init__(self, order: _Ints, batch_size: int, *, rank: int = 0, world: int = 1, parts: int = 1):
        if len(order) < batch_size:
            raise ValueError(f"{len(order)} training faces do not fill one batch of {batch_size}")
        if batch_size % (world * parts):
            raise ValueError(
                f"batch_size {batch_size} is not a multiple of {world * parts} ({world} processes, {parts} parts each)"
            )
        steps = len(order) // batch_size
        share = batch_size // (world * parts)
        self.batches = order[: steps * batch_size].reshape(steps, world, parts, share)[:, rank].reshape(-1, share)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.batches.tolist()
