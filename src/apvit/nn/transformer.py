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
    key and value are zeroed, and so what they contribute.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.project = nn.Linear(dim, dim)

    def forward(self, x: Tensor, dropped: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, dim // self.num_heads)
        if dropped is not None:
            qkv = qkv.masked_fill(dropped[:, None, None, :, None], 0)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, H, T, d]
        y = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
        return self.project(y.transpose(1, 2).reshape(batch, tokens, dim)), query, key


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

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        dropped = None
        if self.training and self.head_drop > 0:
            dropped = drop_one(x.shape[0], self.attention.num_heads, self.head_drop, x.device)
        y, query, key = self.attention(self.norm1(x), dropped)
        x = x + y
        kept = None
        if self.pool is not None:
            kept = self.pool(query, key, self.attention.scale)
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
