"""Decoded faces: in memory, or in a memory-mapped file where they would not fit."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from apvit.data import DataError, Split
from apvit.faces.alignment import resize_face
from apvit.files import completing, reason

from .folder import TrainingError
from .processes import Processes

_Bytes = npt.NDArray[np.uint8]

CHUNK = 512
"""Faces that are decoded at once."""


@dataclass(frozen=True)
class Store:
    """Where decoded faces go."""

    limit: float
    """Bytes that may be held in memory."""
    folder: Path
    """Where larger ones are written to."""
    processes: Processes
    """The first process of a machine writes for all."""


def decode(splits: Sequence[Split], colour: str, size: int | None, store: Store) -> Tensor:
    """The faces of all splits, one behind the other: uint8 [N, C, P, P], C being 1 for "grey" and 3 for "rgb".

    They are resized to `size` (antialiased bilinear, `faces.alignment.resize_face`), or stay as prepared where it is
    None. Above the store's limit they are written to its folder and mapped, by one process of a machine for all of
    them; a file that an interrupted run left there is used again.

    Raises DataError for pictures that cannot be decoded or differ in size, TrainingError where the disk refuses.
    """
    prepared = next((split.select([0]).pixels(colour).shape[1] for split in splits if len(split)), 0)
    channels, side = (1 if colour == "grey" else 3), size or prepared
    shape = (sum(len(split) for split in splits), channels, side, side)
    chunks = _chunks(splits, colour, prepared, side)
    if np.prod(shape) <= store.limit:
        faces = np.empty(shape, np.uint8)
        start = 0
        for chunk in chunks:
            faces[start : start + len(chunk)] = chunk
            start += len(chunk)
        return torch.from_numpy(faces)
    path = store.folder / f"faces-{_digest(splits, colour, shape)}.u8"
    if store.processes.local_rank == 0 and not path.is_file():
        _write(path, chunks)
    while not path.is_file():  # torchrun ends this process, too, should the writing one fail
        time.sleep(0.2)
    # Copy on write: torch wants writable memory, and nobody may change the file.
    return torch.from_numpy(np.memmap(path, np.uint8, "c", shape=shape))


def remove_decoded(folder: Path) -> None:
    """Remove the memory-mapped files of a run that is complete."""
    for path in folder.glob("faces-*.u8"):
        path.unlink(missing_ok=True)


def _chunks(splits: Sequence[Split], colour: str, prepared: int, side: int) -> Iterator[_Bytes]:
    for split in splits:
        for start in range(0, len(split), CHUNK):
            part = split.select(range(start, min(start + CHUNK, len(split))))
            faces = part.pixels(colour)
            if faces.shape[1] != prepared:
                raise DataError(
                    f"the faces of a run must have one size, but {part.sources[0]} is {faces.shape[1]} px and the "
                    f"first face is {prepared} px: align them to a template with `apvit data prepare --align`"
                )
            if side != prepared:
                faces = np.stack([resize_face(face, side) for face in faces])
            yield faces[:, None] if faces.ndim == 3 else faces.transpose(0, 3, 1, 2)


def _digest(splits: Sequence[Split], colour: str, shape: tuple[int, ...]) -> str:
    """What the decoded file depends on: 16 hex digits."""
    digest = hashlib.sha256(f"{colour} {shape}".encode())
    for split in splits:
        for image in split.images:
            digest.update(image)
    return digest.hexdigest()[:16]


def _write(path: Path, chunks: Iterator[Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not through the map: a full disk would end the process.
        with completing(path) as temporary, temporary.open("wb") as file:
            for chunk in chunks:
                file.write(np.ascontiguousarray(chunk).data)
    except OSError as error:
        raise TrainingError(
            f"cannot write the decoded faces to {path}: {reason(error)}; free space, or raise memory_limit"
        ) from error
