"""Which of how many processes this is: one, or what torchrun started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Processes:
    """The place of this process among those of a run."""

    rank: int = 0
    """Number of this process, over all machines."""
    local_rank: int = 0
    """Number of this process on its machine."""
    world: int = 1
    """Processes over all machines."""
    local_world: int = 1
    """Processes on each machine."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints for all."""
        return self.rank == 0

    def trainer(self, device: str) -> dict[str, Any]:
        """The arguments of `lightning.Trainer` that say so; device: as in a recipe, such as cuda:1."""
        kind, _, index = device.partition(":")
        if self.world == 1:
            return {"accelerator": kind, "devices": [int(index)] if index else 1}
        if index:
            raise ValueError(f"device {device} is one GPU, and {self.world} processes need one each: give device cuda")
        nodes = self.world // self.local_world
        return {"accelerator": kind, "devices": self.local_world, "num_nodes": nodes, "strategy": "ddp"}


def this_process(environment: Mapping[str, str] = os.environ) -> Processes:
    """The place that torchrun gave this process in its environment; a process started otherwise is alone."""
    if "TORCHELASTIC_RUN_ID" not in environment:
        return Processes()
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    return Processes(*(int(environment[name]) for name in names))
