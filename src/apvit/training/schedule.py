"""The learning rate over a run."""

from __future__ import annotations

import math


def warmup_cosine(step: int, total: int, warmup: int) -> float:
    """Learning-rate factor at `step` of `total`: a linear rise over `warmup` steps, then half a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min((step - warmup) / max(total - warmup, 1), 1.0)))


def rate_factor(step: int, steps_per_epoch: int, epochs: int, warmup_epochs: float, per: str) -> float:
    """`warmup_cosine` at an optimiser step of a run; with `per` "epoch" a whole epoch has the factor of its start."""
    if per == "epoch":
        step -= step % steps_per_epoch
    return warmup_cosine(step, epochs * steps_per_epoch, round(warmup_epochs * steps_per_epoch))
