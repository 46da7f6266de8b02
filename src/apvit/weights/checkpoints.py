"""Checkpoints of other people's code: opened without running code in them, and fitted to our tensors by key."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .file import summary
from .sources import WeightsError


class CheckpointError(WeightsError):
    """A file or state dict is not the checkpoint that it should be, or not one that our model can hold."""


@dataclass(frozen=True)
class ImportReport:
    """What became of a checkpoint's keys, by the checkpoint's names; `str` says it in a sentence."""

    used: tuple[str, ...]
    unused: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def missing_head(self) -> tuple[str, ...]:
        """Those of the missing keys that belong to the classifier."""
        return tuple(key for key in self.missing if key.startswith("head."))

    def __str__(self) -> str:
        return f"used keys {len(self.used)}, unused keys {summary(self.unused)}, missing keys {summary(self.missing)}"


def read_state_dict(source: str | Path | Mapping[str, Any], what: str) -> dict[str, Tensor]:
    """Key -> tensor of a .pth file, a .safetensors file or a state dict, without {"state_dict": ...} and "module.".

    A .pth file is opened with `weights_only=True`, so that no code in it runs. Raises CheckpointError, which says that
    it is not `what`, for anything that holds no state dict.
    """
    values = source if isinstance(source, Mapping) else _load(Path(source))
    if isinstance(values, Mapping) and isinstance(values.get("state_dict"), Mapping):
        values = values["state_dict"]
    if not isinstance(values, Mapping):
        raise CheckpointError(f"{name_of(source)} is not {what}: it holds no state dict")
    return {str(key).removeprefix("module."): value for key, value in values.items() if isinstance(value, Tensor)}


def fit(
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    *,
    computes: re.Pattern[str],
    subject: str,
    optional: tuple[str, ...] = (),
) -> tuple[dict[str, Tensor], ImportReport]:
    """Copies of the tensors that `wanted` asks for, in its dtypes and on the CPU, and what became of every key.

    computes: keys that take part in the checkpoint's own computation; where one of these has no place here, it is of
    another function, while every other unused key may be a leftover. optional: what missing keys may start with;
    BatchNorm's batch counters, which no result depends on, may always be missing. subject: the checkpoint's name in
    messages. Raises CheckpointError for foreign and missing keys, other shapes, NaN and infinity.
    """
    unused = tuple(key for key in found if key not in wanted)
    if foreign := [key for key in unused if computes.match(key)]:
        raise CheckpointError(
            f"{subject} is of another model: its keys {summary(foreign)} take part in that one's computation, but "
            f"have no place in ours"
        )
    missing = tuple(key for key in wanted if key not in found)
    if needed := [key for key in missing if not key.startswith(optional) and not key.endswith("num_batches_tracked")]:
        raise CheckpointError(f"{subject} lacks {summary(needed)}, without which the model computes noise")
    tensors = {}
    for key, like in wanted.items():
        if key not in found:
            continue
        if found[key].shape != like.shape:
            raise CheckpointError(
                f"{subject} does not fit the model: {key} must be {list(like.shape)}, got {list(found[key].shape)}"
            )
        tensors[key] = found[key].detach().to("cpu", like.dtype, copy=True)
        if not bool(tensors[key].isfinite().all()):
            raise CheckpointError(f"{subject} has values that are NaN or infinite in {key}")
    return tensors, ImportReport(tuple(key for key in found if key in wanted), unused, missing)


def name_of(source: str | Path | Mapping[str, Any]) -> str:
    """What messages call a checkpoint."""
    return "the checkpoint" if isinstance(source, Mapping) else str(source)


def _load(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {str(path)!r}: there is no such file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch thinks of other pickle versions; ours is one sentence below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file makes the unpickler raise anything
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors and plain values ({type(error).__name__}), which is not "
            f"opened because it may run code; where you trust it, save its state dict alone to a new file"
        ) from None
