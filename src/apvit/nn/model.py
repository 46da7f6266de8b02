"""APViT: IR stem, attentive patch pooling, class token, pooling blocks, linear head (Xue et al. 2022, section III)."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from .hybrid import HybridConfig, HybridModel
from .pooling import PATCH_SCORES, TOKEN_SCORES, AttentivePatchPooling, gather_tokens, keep_count

PAPER_TOKEN_KEEP = (1, 1, 1, 1, 0.9, 0.9, 0.9, 0.9)


@dataclass(frozen=True)
class APViTConfig(HybridConfig):
    """Every hyper-parameter of an APViT; the defaults are the paper's model. With both keeps None, the plain hybrid.

    Raises ValueError, with the numbers, for a combination that cannot be built.
    """

    patch_keep: int | float | None = 160
    """Patches that APP keeps: a count, a rate, or None for off."""
    token_keep: tuple[int | float, ...] | None = PAPER_TOKEN_KEEP
    """Tokens that ATP keeps, one entry per block: a rate, or a count above 1; 1 keeps all, as in the paper's schedule.
    None: off."""
    patch_score: str = "abs_sum"
    """How APP scores a patch."""
    token_score: str = "sum"
    """How ATP scores a token."""
    family: str = field(default="apvit", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.token_keep is not None:
            object.__setattr__(self, "token_keep", tuple(self.token_keep))
        if self.patch_score not in PATCH_SCORES:
            raise ValueError(f"unknown patch_score {self.patch_score!r}; known are {', '.join(PATCH_SCORES)}")
        if self.token_score not in TOKEN_SCORES:
            raise ValueError(f"unknown token_score {self.token_score!r}; known are {', '.join(TOKEN_SCORES)}")
        if self.token_keep is not None and len(self.token_keep) != self.depth:
            raise ValueError(
                f"token_keep has {len(self.token_keep)} entries, but the model has {self.depth} blocks (depth)"
            )
        _ = self.token_counts  # raises for keeps that cannot be

    @property
    def patch_count(self) -> int:
        """Patches that APP keeps."""
        return keep_count(self.num_patches, self.patch_keep)

    @property
    def token_counts(self) -> tuple[int, ...]:
        """Non-class tokens after each block."""
        counts, alive = [], self.patch_count
        for keep in self.token_keep or (1,) * self.depth:
            alive = alive if keep == 1 else keep_count(alive, keep)
            counts.append(alive)
        return tuple(counts)


class APViT(HybridModel):
    """The paper's model: APP between projection and class token, ATP in the blocks. See `HybridModel`."""

    config: APViTConfig

    def __init__(self, config: APViTConfig):
        super().__init__(config, token_score=config.token_score)
        self.patch_pool = AttentivePatchPooling(config.patch_count, config.patch_score)

    def _tokens(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.project(features).flatten(2).transpose(1, 2)  # [B, N, D]
        patch_scores, patches = self.patch_pool(x)
        x = x + self.patch_position
        if self.config.patch_count < self.config.num_patches:
            x = gather_tokens(x, patches)  # [B, kept, D]
        return x, patch_scores, patches
