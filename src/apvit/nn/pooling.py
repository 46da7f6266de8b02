"""Attentive pooling: the paper's two parameter-free selections, as pure functions and thin modules.

APP (attentive patch pooling, paper section III-B) keeps the patches of the feature map with the strongest activation;
ATP (attentive token pooling, section III-C) keeps, inside a block, the tokens that the class token attends to most.
Both keep the order of what survives. Scores come from the network itself; nothing here has a weight.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral

import torch
from torch import Tensor, nn

PATCH_SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "abs_sum": lambda x: x.abs().sum(-1),  # the paper's
    "sum": lambda x: x.sum(-1),
    "square_sum": lambda x: x.square().sum(-1),
    "max": lambda x: x.amax(-1),
    "abs_max": lambda x: x.abs().amax(-1),
    "random": lambda x: torch.rand(x.shape[:-1], dtype=torch.float32, device=x.device),  # the control experiment
}
"""Reductions over channels: [B, N, D] -> [B, N]."""

TOKEN_SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda logits: logits.sum(1),  # the paper's
    "max": lambda logits: logits.amax(1),
    "abs_sum": lambda logits: logits.abs().sum(1),
}
"""Reductions over heads: [B, H, N] -> [B, N]."""


def keep_count(total: int, keep: int | float | None) -> int:
    """How many of `total` survive: an int is a count, a float a rate, None keeps all.

    A rate means `int(total * rate)` in binary floating point, and at least 1: `keep_count(90, 0.7)` is 62, as in the
    official code, so that weights stay compatible. Raises ValueError for a count outside 1..total or a rate outside
    (0, 1].
    """
    if keep is None:
        return total
    if not isinstance(keep, Integral):
        if not 0.0 < keep <= 1.0:
            raise ValueError(f"a keep rate must lie in (0, 1], got {keep}")
        return max(int(total * keep), 1)
    if not 1 <= keep <= total:
        raise ValueError(f"a keep count must lie in 1..{total} (the number there is), got {keep}")
    return int(keep)


def select_top(scores: Tensor, count: int) -> Tensor:
    """Positions of the `count` highest scores, in ascending position: [B, N] float -> [B, count] int64."""
    return scores.topk(count, dim=1, sorted=False).indices.sort(dim=1).values


def gather_tokens(x: Tensor, index: Tensor) -> Tensor:
    """The tokens of x [B, N, D] at index [B, K] int64: [B, K, D]."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def attentive_patch_pooling(x: Tensor, count: int, score: str = "abs_sum") -> tuple[Tensor, Tensor]:
    """APP: score every patch of x [B, N, D] by its channels and choose the best `count`.

    Returns (scores [B, N] float32 or float64, kept patch ids [B, count] int64 ascending). The score is taken before
    position embeddings are added, the kept ids are used after, so this selects and leaves gathering to the caller.
    Gradients do not flow through the choice.
    """
    # In half precision many scores tie, and the choice would be noise.
    scores = PATCH_SCORES[score](x.detach() if x.dtype == torch.float64 else x.detach().float())
    if count == x.shape[1]:
        return scores, torch.arange(count, device=x.device).expand(x.shape[0], -1)
    return scores, select_top(scores, count)


def class_logits(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """Scaled attention logits of the class token (position 0) with every other token, before the softmax.

    query, key [B, H, 1 + N, d] -> [B, H, N] float32 or float64, detached: the choice has no gradient.
    """
    query, key = query[:, :, :1].detach(), key[:, :, 1:].detach()
    if query.dtype != torch.float64:
        query, key = query.float(), key.float()
    return (query * scale @ key.transpose(-2, -1)).squeeze(2)


def attentive_token_pooling(logits: Tensor, count: int, score: str = "sum") -> Tensor:
    """ATP: choose the `count` tokens with the highest class logits [B, H, N]: positions [B, count] int64 ascending.

    Positions count from the first non-class token.
    """
    return select_top(TOKEN_SCORES[score](logits), count)


class AttentivePatchPooling(nn.Module):
    """APP as a module: x [B, N, D] -> (scores [B, N], kept patch ids [B, count])."""

    def __init__(self, count: int, score: str = "abs_sum"):
        super().__init__()
        if score not in PATCH_SCORES:
            raise ValueError(f"unknown patch score {score!r}; known are {', '.join(PATCH_SCORES)}")
        self.count, self.score = count, score

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return attentive_patch_pooling(x, self.count, self.score)

    def extra_repr(self) -> str:
        return f"count={self.count}, score={self.score!r}"


class AttentiveTokenPooling(nn.Module):
    """ATP as a module: query and key [B, H, 1 + N, d] -> kept positions [B, count] among the non-class tokens."""

    def __init__(self, count: int, score: str = "sum"):
        super().__init__()
        if score not in TOKEN_SCORES:
            raise ValueError(f"unknown token score {score!r}; known are {', '.join(TOKEN_SCORES)}")
        self.count, self.score = count, score

    def forward(self, query: Tensor, key: Tensor, scale: float) -> Tensor:
        return attentive_token_pooling(class_logits(query, key, scale), self.count, self.score)

    def extra_repr(self) -> str:
        return f"count={self.count}, score={self.score!r}"
