"""Pre-norm transformer blocks that drop tokens between attention and MLP (ATP), and in training heads (MSAD)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dropping import drop_one
from .pooling import AttentiveTokenPooling, gather_tokens

LAYER_NORM_EPS = 1e-6  # torch's default is 1e-5; only a float64 comparison with the official code tells them apart


class Attention(nn.Module):
    """Multi-head self-attention, qkv without bias; x [B, T, D] -> [B, T, D].

    Also returns the query and key [B, H, T, d] for the pooling that follows. dropped: [B, H] bool, heads whose query,
    key and value are zeroed, and so what they contribute. class_only: only the class token (position 0) asks, so that
    the result is [B, 1, D] and the query [B, H, 1, d].
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.project = nn.Linear(dim, dim)

    def forward(
        self, x: Tensor, dropped: Tensor | None = None, class_only: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        if class_only:
            dim = self.qkv.in_features
            for_query, for_key_value = torch.split(self.qkv.weight, [dim, 2 * dim])
            (query,) = self._heads(F.linear(x[:, :1], for_query), dropped)
            key, value = self._heads(F.linear(x, for_key_value), dropped)
        else:
            query, key, value = self._heads(self.qkv(x), dropped)
        y = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
        return self.project(y.transpose(1, 2).flatten(2)), query, key

    def _heads(self, x: Tensor, dropped: Tensor | None) -> tuple[Tensor, ...]:
        """[B, T, n * D] -> n tensors [B, H, T, d], zero in the dropped heads."""
        batch, tokens, width = x.shape
        size = self.qkv.in_features // self.num_heads
        x = x.reshape(batch, tokens, width // self.qkv.in_features, self.num_heads, size)
        if dropped is not None:
            x = x.masked_fill(dropped[:, None, None, :, None], 0)
        return x.permute(2, 0, 3, 1, 4).unbind(0)


class MLP(nn.Module):
    """Linear, exact GELU, Linear; x [B, T, D] -> [B, T, D]."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.expand = nn.Linear(dim, hidden)
        self.contract = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.contract(F.gelu(self.expand(x)))
        return y


class PoolingBlock(nn.Module):
    """One block: attention, then ATP down to `keep` non-class tokens (None: no pooling), then the MLP.

    x [B, 1 + N, D], class token first -> (x [B, 1 + keep, D], kept positions [B, keep] of the N, or None).
    class_only: compute the class token alone, x [B, 1, D]: exact where nothing else is read, as after the last block.
    select: whether kept positions are wanted; without them a class_only block need not compute its selection.
    head_drop: TransFER's MSAD; in training, the probability per sample that one of the heads is zeroed. Both public
    ports of TransFER index a token there by mistake; the paper drops a head.
    """

    def __init__(
        self, dim: int, num_heads: int, hidden: int, keep: int | None, token_score: str, head_drop: float = 0.0
    ):
        super().__init__()
        self.head_drop = head_drop
        self.norm1 = nn.LayerNorm(dim, LAYER_NORM_EPS)
        self.attention = Attention(dim, num_heads)
        self.pool = None if keep is None else AttentiveTokenPooling(keep, token_score)
        self.norm2 = nn.LayerNorm(dim, LAYER_NORM_EPS)
        self.mlp = MLP(dim, hidden)

    def forward(self, x: Tensor, class_only: bool = False, select: bool = True) -> tuple[Tensor, Tensor | None]:
        dropped = None
        if self.training and self.head_drop > 0:
            dropped = drop_one(x.shape[0], self.attention.num_heads, self.head_drop, x.device)
        y, query, key = self.attention(self.norm1(x), dropped, class_only)
        x = (x[:, :1] if class_only else x) + y
        kept = None
        if self.pool is not None and select:
            kept = self.pool(query, key, self.attention.scale)
            if not class_only:
                x = torch.cat((x[:, :1], gather_tokens(x[:, 1:], kept)), dim=1)
        return x + self.mlp(self.norm2(x)), kept


def resize_positions(positions: Tensor, grid: int) -> Tensor:
    """Position embedding [1, n*n, D] for another grid: [1, grid*grid, D], bicubic, antialiased where it shrinks.

    Raises ValueError where the given one is not square.
    """
    count, dim = positions.shape[1:]
    side = round(count**0.5)
    if side * side != count:
        raise ValueError(f"a position embedding of {count} patches is not a square grid")
    if side == grid:
        return positions
    plane = positions.reshape(1, side, side, dim).permute(0, 3, 1, 2)
    plane = F.interpolate(plane, (grid, grid), mode="bicubic", align_corners=False, antialias=True)
    return plane.permute(0, 2, 3, 1).reshape(1, grid * grid, dim)
