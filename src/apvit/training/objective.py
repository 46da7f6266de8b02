"""The loss: cross-entropy with distributions, and the FER+ paper's loss for several right labels."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

MULTI_TARGET_EPSILON = 0.001
"""Weight of a wrong label in the multi-target loss (microsoft/FERPlus, src/train.py)."""


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of logits [B, K] with target distributions [B, K] that sum to 1; a float32 scalar."""
    return -(target * F.log_softmax(logits.float(), dim=-1)).sum(-1).mean()


def smooth(target: Tensor, amount: float) -> Tensor:
    """Mix target distributions [B, K] with the uniform one: label smoothing where they are one-hot."""
    return target * (1 - amount) + amount / target.shape[-1]


def sharpen(target: Tensor, power: float) -> Tensor:
    """Target distributions [B, K] raised to `power` and made to sum to 1 again: above 1 towards the most voted class.

    Ten annotators' votes are a noisy distribution, and accuracy asks for its top alone (Gao et al., "Deep Label
    Distribution Learning With Label Ambiguity", IEEE TIP 2017, trains on the distributions as they are).
    """
    raised = target**power
    return raised / raised.sum(-1, keepdim=True)


def multi_target_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean of -log max_c(t_c p_c), where t_c is 1 for every class of a positive target and 0.001 for the others.

    logits, target: [B, K]; a float32 scalar. Barsoum et al. (arXiv 1608.01041), section 4: the network need only be
    sure of one of the labels that annotators gave.
    """
    chances = F.log_softmax(logits.float(), dim=-1) + (target <= 0) * math.log(MULTI_TARGET_EPSILON)
    return -chances.amax(-1).mean()


def loss(logits: Tensor, target: Tensor, mode: str, smoothing: float, power: float = 1.0) -> Tensor:
    """The recipe's loss: `mode` is its target, `smoothing` its label_smoothing, `power` its target_power."""
    if mode == "multi-target":
        return multi_target_loss(logits, target)
    return soft_cross_entropy(logits, smooth(sharpen(target, power), smoothing))
