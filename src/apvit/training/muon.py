"""Muon: steps that turn every direction of a weight matrix alike; for short trainings from scratch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration (Jordan 2024): they drive singular values to about 1 in five steps."""


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """The orthogonal factor of a matrix [M, N], nearly: its singular values become 0.7 to 1.2. Same dtype."""
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T.contiguous() if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for the groups with `orthogonal` set, AdamW for the others, under one learning rate.

    Keller Jordan, "Muon: An optimizer for hidden layers in neural networks" (2024), with the step's scale of Liu et
    al., "Muon is Scalable for LLM Training" (arXiv 2502.16982), 0.2 sqrt(max(M, N)), which gives it the size of an
    AdamW step: learning rate and decay can be those of AdamW. Convolutions [O, I, k, k] are matrices [O, I k k].
    torch.optim.Muon takes matrices only.

    precision: dtype of the orthogonalisation, which need not be exact; Jordan's is bfloat16, four times as fast on a
    CPU that multiplies it.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        precision: torch.dtype = torch.float32,
    ):
        self.precision = precision
        super().__init__(groups, {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step; `closure`, if given, computes the loss first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            advance = self._advance_matrix if group["orthogonal"] else self._advance
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    advance(parameter, parameter.grad, group)
        return loss

    def _advance_matrix(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[parameter], group["momentum"]
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        velocity = state["momentum"].lerp_(gradient, 1 - momentum)
        update = gradient.lerp(velocity, momentum)  # Nesterov's
        matrix = update.reshape(len(update), -1)
        scale = 0.2 * max(matrix.shape) ** 0.5
        step = orthogonalise(matrix.to(self.precision)).to(update.dtype)
        parameter.add_(step.reshape(update.shape), alpha=-group["lr"] * scale)

    def _advance(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            state.update(steps=0, mean=torch.zeros_like(gradient), square=torch.zeros_like(gradient))
        state["steps"] += 1
        mean = state["mean"].lerp_(gradient, 1 - beta1) / (1 - beta1 ** state["steps"])
        square = state["square"].lerp_(gradient.square(), 1 - beta2) / (1 - beta2 ** state["steps"])
        parameter.addcdiv_(mean, square.sqrt_().add_(group["eps"]), value=-group["lr"])
