"""What the network learns: targets from annotators' votes or labels, and the loss."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of logits [B, K] with target distributions [B, K] that sum to 1; a float32 scalar."""
    return -(target * F.log_softmax(logits.float(), dim=-1)).sum(-1).mean()


def smooth(target: Tensor, amount: float) -> Tensor:
    """Mix target distributions [B, K] with the uniform one: label smoothing where they are one-hot."""
    return target * (1 - amount) + amount / target.shape[-1]
