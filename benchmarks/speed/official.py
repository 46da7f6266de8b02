"""APViT as the official code computes it, for weights of ours: what the engines are compared with.

Written from the paper and from a description of the official code, none of it copied: an index expanded over the
channels for `gather`, every block computed for all tokens (the last one too, of which only the class token is read),
attention as two products with a softmax between, the framework's contiguous layout. One thing is not imitated: there,
pooling is skipped whenever the batch happens to be as large as the number of tokens.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from apvit.nn import APViT
from apvit.nn.transformer import PoolingBlock


class OfficialFormulation(nn.Module):
    """Face [B, C, S, S] float, normalised -> logits [B, classes], with the weights of `model`, which it shares.

    Raises ValueError for a model with other scores than the paper's.
    """

    def __init__(self, model: APViT):
        super().__init__()
        config = model.config
        if (config.patch_score, config.token_score) != ("abs_sum", "sum"):
            raise ValueError(f"the paper's scores are abs_sum and sum, not {config.patch_score}, {config.token_score}")
        self.model = model.eval()

    def forward(self, x: Tensor) -> Tensor:
        model, config = self.model, self.model.config
        patches = model.project(model.stem(x)).flatten(2).transpose(1, 2)  # [B, N, D]
        scores = patches.abs().sum(-1)
        patches = patches + model.patch_position
        if config.patch_count < config.num_patches:
            patches = best(patches, scores, config.patch_count)
        first = (model.class_token + model.class_position).expand(x.shape[0], -1, -1)
        tokens = torch.cat((first, patches), dim=1)
        for block, count in zip(model.blocks, config.token_counts, strict=True):
            tokens = compute_block(tokens, block, count)
        logits: Tensor = model.head(model.norm(tokens)[:, 0])
        return logits


def compute_block(x: Tensor, block: PoolingBlock, count: int) -> Tensor:
    """x [B, 1 + N, D], class token first -> [B, 1 + count, D]: attention, selection, MLP."""
    batch, tokens, dim = x.shape
    attention = block.attention
    qkv = attention.qkv(block.norm1(x)).reshape(batch, tokens, 3, attention.num_heads, dim // attention.num_heads)
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # [B, H, 1 + N, d]
    logits = (query @ key.transpose(-2, -1)) * attention.scale  # [B, H, 1 + N, 1 + N]
    mixed = (logits.softmax(-1) @ value).transpose(1, 2).reshape(batch, tokens, dim)
    x = x + attention.project(mixed)
    if count < tokens - 1:
        scores = logits[:, :, 0, 1:].sum(1)  # of the class token with every other, over the heads
        x = torch.cat((x[:, :1], best(x[:, 1:], scores, count)), dim=1)
    y: Tensor = x + block.mlp(block.norm2(x))
    return y


def best(x: Tensor, scores: Tensor, count: int) -> Tensor:
    """The `count` tokens of x [B, N, D] with the highest scores [B, N], in their order: [B, count, D]."""
    index = scores.topk(count, dim=1).indices.sort(dim=1).values
    return torch.gather(x, 1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def run_eagerly(module: nn.Module, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities [B, classes] of faces x [B, C, S, S]: a module in evaluation, called as anyone would call it."""
    with torch.inference_mode():
        probabilities: NDArray[np.float32] = module(torch.from_numpy(x)).softmax(1).numpy()
    return probabilities
