"""The forward pass with its attention matrices in the open, as explanations need them."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from apvit.nn import HybridModel
from apvit.nn.pooling import gather_tokens
from apvit.nn.transformer import PoolingBlock


class BlockAttention(NamedTuple):
    """What one block attended to, and which tokens it let pass."""

    attention: Tensor  # [B, H, T, T] softmax rows over the T tokens that entered, class token first; in the graph
    kept: Tensor | None  # [B, kept] int64 positions among the T - 1 non-class tokens that left it; None: all


class Passed(NamedTuple):
    """A forward pass in the open."""

    logits: Tensor  # [B, K], in the graph
    patches: Tensor  # [B, N] ids of the patches that entered the first block
    blocks: list[BlockAttention]


def forward_in_the_open(model: HybridModel, x: Tensor) -> Passed:
    """`model(x)` in evaluation mode with explicit attention: same logits, every attention matrix part of the graph.

    x [B, C, S, S] float, normalised. The fused attention of `apvit.nn` never makes its matrices, so they cannot be read
    there nor have gradients. Raises RuntimeError for a model in training mode, whose explanation would be noise.
    """
    if model.training:
        raise RuntimeError("explanations need the model in evaluation mode: call model.eval()")
    tokens, _, patches = model.embed(x)
    blocks = []
    for block in cast("list[PoolingBlock]", list(model.blocks)):
        attend = block.attention
        batch, count, dim = tokens.shape
        qkv = attend.qkv(block.norm1(tokens)).reshape(batch, count, 3, attend.num_heads, dim // attend.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attention = (query * attend.scale @ key.transpose(-2, -1)).softmax(-1)
        tokens = tokens + attend.project((attention @ value).transpose(1, 2).reshape(batch, count, dim))
        kept = None
        if block.pool is not None:
            kept = block.pool(query, key, attend.scale)
            tokens = torch.cat((tokens[:, :1], gather_tokens(tokens[:, 1:], kept)), dim=1)
        tokens = tokens + block.mlp(block.norm2(tokens))
        blocks.append(BlockAttention(attention, kept))
    return Passed(model.head(model.norm(tokens[:, 0])), patches, blocks)
