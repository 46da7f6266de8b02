"""Attention dropping (TransFER): in training, what attends is now and then silenced, so that no part is relied on."""

from __future__ import annotations

import torch
from torch import Tensor


def drop_one(batch: int, count: int, probability: float, device: torch.device) -> Tensor:
    """Which of `count` parts are dropped for each sample: [batch, count] bool, at most one True in a row.

    With `probability` a sample loses one part, each equally likely. Drawn from torch's default generator of `device`.
    """
    some = torch.rand(batch, 1, device=device) < probability
    chosen = torch.randint(count, (batch, 1), device=device) == torch.arange(count, device=device)
    return some & chosen
