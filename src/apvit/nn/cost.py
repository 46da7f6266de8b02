"""Parameters and multiply-accumulates of a configuration, in the paper's formulation."""

from __future__ import annotations

from dataclasses import dataclass

from .model import APViTConfig


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates for one face; the literature calls them FLOPs.

    Counted as the paper does: convolutions, linear layers and attention products, every token in every block, also in
    the last one, of which only the class token is read. Norms, activations and selections are not counted.
    """

    stem: int
    projection: int
    linear: int  # the blocks' linear layers
    attention: int  # query-key and attention-value products
    head: int

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return self.stem + self.projection + self.linear + self.attention + self.head


def count_macs(config: APViTConfig) -> Cost:
    """Multiply-accumulates of `config` for one face."""
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
    for after in config.token_counts:
        linear += (1 + before) * 4 * dim**2 + (1 + after) * 2 * dim * hidden
        attention += 2 * (1 + before) ** 2 * dim
        before = after
    return Cost(stem, config.num_patches * width * dim, linear, attention, dim * config.num_classes)
