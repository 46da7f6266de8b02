"""The optimiser, and which parameters its weight decay pulls at."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .recipe import Recipe


def decays(name: str, parameter: nn.Parameter, decay: str) -> bool:
    """Whether the parameter `name` decays under the recipe's `decay`.

    "all": yes. "intended": all but class token and positions, which the official configuration means to exempt but
    does not, because its keys never match. "matrices": nor biases, norms and PReLU.
    """
    if decay == "all":
        return True
    token = name.rpartition(".")[2].endswith(("_token", "_position"))
    return not token and (decay == "intended" or parameter.ndim >= 2)


def decay_groups(model: nn.Module, weight_decay: float, decay: str = "matrices") -> list[dict[str, Any]]:
    """Two optimiser groups of the model's parameters: those that decay, and those that do not."""
    groups: list[dict[str, Any]] = [
        {"params": [], "weight_decay": weight_decay},
        {"params": [], "weight_decay": 0.0},
    ]
    for name, parameter in model.named_parameters():
        groups[0 if decays(name, parameter, decay) else 1]["params"].append(parameter)
    return [group for group in groups if group["params"]]


def make_optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over the model's parameters."""
    groups = decay_groups(model, recipe.weight_decay, recipe.decay)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)
