"""What the processor's arithmetic reaches at best: a large float32 matrix product on torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

SIDE = 2048
NAME = "gemm"
"""What it is called among those that take turns."""


def product() -> Callable[[], object]:
    """A call that multiplies two matrices [SIDE, SIDE]."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(SIDE, SIDE, generator=generator) for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def best_rate(seconds: Sequence[float]) -> float:
    """Multiply-accumulates per second of the fastest of several products."""
    return SIDE**3 / min(seconds)
