"""The learning rate over a run, and which parameters decay."""

from __future__ import annotations

import math

from torch import nn


def warmup_cosine(step: int, total: int, warmup: int) -> float:
    """Learning-rate factor at `step` of `total`: a linear rise over `warmup` steps, then half a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min((step - warmup) / max(total - warmup, 1), 1.0)))


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Optimiser groups: matrices and convolutions decay; biases, norms, PReLU, class token and positions do not.

    The paper's configuration means the same but its keys never match, so that everything decayed there.
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        plain = parameter.ndim < 2 or name in ("class_token", "class_position", "patch_position")
        (kept if plain else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
