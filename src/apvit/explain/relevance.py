"""How much each patch spoke for an expression: relevance carried through attention and through token dropping.

Relevance is a matrix R [T, N]: how much each of the N patches has gone into each of the T tokens that are alive. It
starts as the identity, and every block mixes its rows. The class token's row at the end is the answer.

- `rollout` (Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020): R <- (A + I) / 2 R with A the
  mean over heads. Rows of R, with the class token's own share, sum to one before and after dropping.
- `class_relevance` (Chefer, Gur and Wolf, "Generic Attention-model Explainability for Interpreting Bi-Modal and
  Encoder-Decoder Transformers", ICCV 2021, equations 5 and 6): R <- R + A' R with A' the mean over heads of the
  positive part of gradient(logit of the class, attention) * attention.

Dropping: a token that ATP drops keeps the relevance it had when it was dropped. In the formula it is a token that from
then on attends to nothing and that nobody attends to: rows and columns of zeros in every later A', so that its row of R
stays what it was. That row is never read again, so the code lets it go, which gives the same numbers (a test compares
both). Its *column* stays: what it had given to others before, to the class token above all, keeps counting and travels
on with them. A patch that APP dropped never was a token; its relevance is zero. What pooling chooses has no gradient,
so that the choice itself is not explained, only what was made of the chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from apvit.nn import HybridModel

from .attention import BlockAttention, forward_in_the_open


def class_relevance(model: HybridModel, x: Tensor, classes: Tensor) -> Tensor:
    """Relevance of every patch for given classes: x [B, C, S, S], classes [B, M] int64 -> [B, M, N] float, >= 0.

    N counts all patches of the feature map, row-major. Weights get no gradient. Raises RuntimeError for a model in
    training mode.
    """
    with torch.enable_grad():
        passed = forward_in_the_open(model, x.detach().requires_grad_())
        matrices = [block.attention for block in passed.blocks]
        maps = []
        for m in range(classes.shape[1]):
            chosen = passed.logits.gather(1, classes[:, m : m + 1]).sum()
            gradients = torch.autograd.grad(chosen, matrices, retain_graph=m + 1 < classes.shape[1])
            mixing = [(g * a.detach()).clamp(min=0).mean(1) for g, a in zip(gradients, matrices, strict=True)]
            relevance = carry(mixing, passed.blocks)
            maps.append(on_grid(relevance[:, 0, 1:], passed.patches, model.config.num_patches))
    return torch.stack(maps, dim=1)


@torch.no_grad()
def rollout(model: HybridModel, x: Tensor) -> Tensor:
    """How much of every patch has reached the class token, for no class in particular: [B, C, S, S] -> [B, N], >= 0.

    Together with the class token's own share each row sums to one. Raises RuntimeError for a model in training mode.
    """
    passed = forward_in_the_open(model, x)
    # (A + I) / 2 R = R/2 + (A/2) R: `carry` adds R itself, so it gets A, and halves the sum.
    relevance = carry([block.attention.mean(1) for block in passed.blocks], passed.blocks, scale=0.5)
    return on_grid(relevance[:, 0, 1:], passed.patches, model.config.num_patches)


@torch.no_grad()
def class_attention(model: HybridModel, x: Tensor) -> Tensor:
    """Attention of the class token per block, mean over heads: [B, C, S, S] -> [B, depth, N]; 0 where no token is."""
    passed = forward_in_the_open(model, x)
    alive, maps = passed.patches, []
    for block in passed.blocks:
        maps.append(on_grid(block.attention.mean(1)[:, 0, 1:], alive, model.config.num_patches))
        alive = alive if block.kept is None else alive.gather(1, block.kept)
    return torch.stack(maps, dim=1)


def carry(mixing: Sequence[Tensor], blocks: Sequence[BlockAttention], scale: float = 1.0) -> Tensor:
    """R after all blocks: R <- scale * (R + M R), then the rows of dropped tokens go.

    mixing: one M [B, T, T] per block, T the tokens that entered it. Returns [B, T after the last block, first T].
    """
    batch, count = mixing[0].shape[:2]
    relevance = torch.eye(count, dtype=mixing[0].dtype, device=mixing[0].device).expand(batch, -1, -1)
    for matrix, block in zip(mixing, blocks, strict=True):
        relevance = scale * (relevance + matrix @ relevance)
        if block.kept is not None:
            rows = torch.cat((torch.zeros_like(block.kept[:, :1]), block.kept + 1), dim=1)  # the class token stays
            relevance = relevance.gather(1, rows.unsqueeze(-1).expand(-1, -1, relevance.shape[-1]))
    return relevance


def on_grid(values: Tensor, patches: Tensor, count: int) -> Tensor:
    """Values [B, n] of the patches with ids [B, n], put into [B, count]; zero elsewhere."""
    return torch.zeros(len(values), count, dtype=values.dtype, device=values.device).scatter(1, patches, values)
