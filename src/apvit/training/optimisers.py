"""The optimiser, and which parameters its weight decay pulls at."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .muon import Muon
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
    if recipe.optimizer == "muon":
        parts = [part for group in groups for part in split_matrices(group, model)]
        precision = torch.bfloat16 if recipe.precision == "bf16-mixed" else torch.float32
        return Muon(parts, lr=recipe.learning_rate, precision=precision)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def split_matrices(group: dict[str, Any], model: nn.Module) -> list[dict[str, Any]]:
    """A group in two: what Muon orthogonalises (convolutions and matrices inside the model), and the rest.

    The first convolution and the classifier stay with AdamW, as Muon's author advises for what meets input and output.
    """
    ends = {id(model.get_parameter(name)) for name in (first_convolution(model), "head.weight")}
    inner = [p for p in group["params"] if p.ndim in (2, 4) and id(p) not in ends]
    chosen = {id(p) for p in inner}
    rest = [p for p in group["params"] if id(p) not in chosen]
    parts = [{**group, "params": inner, "orthogonal": True}, {**group, "params": rest, "orthogonal": False}]
    return [part for part in parts if part["params"]]


def first_convolution(model: nn.Module) -> str:
    """Name of the weight that meets the picture."""
    return next(name for name, parameter in model.named_parameters() if parameter.ndim == 4)
