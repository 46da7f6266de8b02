"""The exponential moving average of the weights: what is evaluated and shipped."""

from __future__ import annotations

import torch
from torch import nn


def average_decay(step: int, decay: float) -> float:
    """The decay at `step`, rising to `decay`: early averages must not remember the initialisation."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * model, parameters and BatchNorm statistics alike; copies counters."""
    kept, new = average.state_dict(), model.state_dict()
    floats = [name for name, tensor in kept.items() if tensor.is_floating_point()]
    torch._foreach_lerp_([kept[n] for n in floats], [new[n] for n in floats], 1 - decay)
    for name in kept.keys() - floats:
        kept[name].copy_(new[name])
