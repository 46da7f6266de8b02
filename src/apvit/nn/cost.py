"""Multiply-accumulates of a configuration, in the paper's formulation and as they are executed."""

from __future__ import annotations

from dataclasses import dataclass

from .hybrid import HybridConfig
from .transfer import TransFERConfig


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates for one face; the literature calls them FLOPs.

    Convolutions, linear layers and attention products; norms, activations and selections are not counted.
    """

    stem: int
    projection: int
    linear: int  # the blocks' linear layers
    attention: int  # query-key and attention-value products
    head: int
    local: int = 0  # TransFER's local CNNs

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return self.stem + self.projection + self.linear + self.attention + self.head + self.local


def count_macs(config: HybridConfig, *, executed: bool = False) -> Cost:
    """Multiply-accumulates of `config` for one face.

    Counted as the paper does, every token in every block; or what is `executed`: in the last block, of which only the
    class token is read, that token's query, attention, projection and MLP, and all tokens' keys and values.
    """
    side, width = config.image_size, config.stem_width
    stem = side**2 * 9 * config.in_channels * width
    for channels, units in config.stem_stages:
        half = side // 2
        stem += side**2 * 9 * width * channels + half**2 * 9 * channels**2
        if width != channels:
            stem += half**2 * width * channels
        stem += (units - 1) * 2 * half**2 * 9 * channels**2
        side, width = half, channels
    dim, hidden = config.dim, config.mlp_hidden
    linear = attention = 0
    before = config.patch_count
    for block, after in enumerate(config.token_counts, 1):
        if executed and block == config.depth:
            linear += (1 + before) * 2 * dim**2 + 2 * dim**2 + 2 * dim * hidden
            attention += 2 * (1 + before) * dim
        else:
            linear += (1 + before) * 4 * dim**2 + (1 + after) * 2 * dim * hidden
            attention += 2 * (1 + before) ** 2 * dim
        before = after
    local = 0
    if isinstance(config, TransFERConfig):
        local = config.num_patches * config.local_branches * (width + 1) * config.local_width
    return Cost(stem, config.num_patches * width * dim, linear, attention, dim * config.num_classes, local)
