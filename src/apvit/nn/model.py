"""APViT: IR stem, attentive patch pooling, class token, pooling blocks, linear head (Xue et al. 2022, section III)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from .pooling import PATCH_SCORES, TOKEN_SCORES, AttentivePatchPooling, gather_tokens, keep_count
from .stem import IRStem
from .transformer import LAYER_NORM_EPS, PoolingBlock

PAPER_TOKEN_KEEP = (1, 1, 1, 1, 0.9, 0.9, 0.9, 0.9)


@dataclass(frozen=True)
class APViTConfig:
    """Every hyper-parameter of an APViT; the defaults are the paper's model.

    Raises ValueError, with the numbers, for a combination that cannot be built.
    """

    image_size: int = 112  # height and width in pixels; a multiple of 2^stages
    in_channels: int = 3
    num_classes: int = 7
    stem_width: int = 64
    stem_stages: tuple[tuple[int, int], ...] = ((64, 3), (128, 4), (256, 14))  # (channels, units); each halves the map
    dim: int = 768
    depth: int = 8
    num_heads: int = 8
    mlp_ratio: float = 3.0
    patch_keep: int | float | None = 160  # APP: a count, a rate, or None for off
    token_keep: tuple[int | float, ...] | None = PAPER_TOKEN_KEEP
    """ATP, one entry per block: a rate, or a count above 1; 1 keeps all, as in the paper's schedule. None: off."""
    patch_score: str = "abs_sum"
    token_score: str = "sum"

    def __post_init__(self) -> None:
        # Tuples, so that a configuration read from JSON or YAML equals one written in Python.
        object.__setattr__(self, "stem_stages", tuple((int(c), int(u)) for c, u in self.stem_stages))
        if self.token_keep is not None:
            object.__setattr__(self, "token_keep", tuple(self.token_keep))
        for name in ("image_size", "in_channels", "num_classes", "stem_width", "dim", "depth", "num_heads"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        if not self.stem_stages or any(n < 1 for stage in self.stem_stages for n in stage):
            raise ValueError(f"stem_stages must be pairs of positive (channels, units), got {self.stem_stages}")
        stride = 2 ** len(self.stem_stages)
        if self.image_size % stride:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of {stride} "
                f"(the stem's {len(self.stem_stages)} stages halve it each)"
            )
        if self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} is not a multiple of num_heads {self.num_heads}")
        if not self.mlp_ratio > 0:
            raise ValueError(f"mlp_ratio must be positive, got {self.mlp_ratio}")
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
    def grid(self) -> int:
        """Side of the square feature map, in patches."""
        return self.image_size // (1 << len(self.stem_stages))  # every stage halves the map

    @property
    def num_patches(self) -> int:
        """Patches of the feature map, before pooling."""
        return self.grid**2

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

    @property
    def mlp_hidden(self) -> int:
        """Width of the MLP's hidden layer."""
        return int(self.dim * self.mlp_ratio)

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON and YAML can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> APViTConfig:
        """The inverse of `to_dict`; ValueError names unknown or malformed entries."""
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise ValueError(f"unknown hyper-parameters {', '.join(unknown)}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"malformed hyper-parameters: {error}") from error


class Trace(NamedTuple):
    """What pooling kept, for explanation and tests."""

    patch_scores: Tensor  # [B, N] APP's score of every patch of the feature map, row-major
    patches: Tensor  # [B, kept] int64 ascending ids of the patches that APP kept
    tokens: tuple[Tensor, ...]  # per block [B, kept_i] int64 original patch ids alive after it, class token not counted
    cls: Tensor  # [B, D] class token after the final norm: the face's embedding


class APViT(nn.Module):
    """Face [B, C, H, W] float, normalised -> logits [B, classes]; with `return_trace=True` also a `Trace`.

    H = W = config.image_size. Raises ValueError for another shape or an integer dtype.
    Initialised as the official code: head and class position zero, everything else of the transformer truncated normal
    with standard deviation 0.02, so that the first step moves only the head.
    """

    def __init__(self, config: APViTConfig):
        super().__init__()
        self.config = config
        dim, patches = config.dim, config.num_patches
        self.stem = IRStem(config.in_channels, config.stem_width, config.stem_stages)
        self.project = nn.Conv2d(config.stem_stages[-1][0], dim, 1)
        self.patch_pool = AttentivePatchPooling(config.patch_count, config.patch_score)
        self.class_token = nn.Parameter(torch.empty(1, 1, dim))
        self.class_position = nn.Parameter(torch.zeros(1, 1, dim))
        self.patch_position = nn.Parameter(torch.empty(1, patches, dim))
        alive, blocks = config.patch_count, []
        for count in config.token_counts:
            keep = None if count == alive else count
            blocks.append(PoolingBlock(dim, config.num_heads, config.mlp_hidden, keep, config.token_score))
            alive = count
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim, LAYER_NORM_EPS)
        self.head = nn.Linear(dim, config.num_classes)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.patch_position, std=0.02)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @overload
    def forward(self, x: Tensor, return_trace: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, x: Tensor, return_trace: Literal[True]) -> tuple[Tensor, Trace]: ...
    def forward(self, x: Tensor, return_trace: bool = False) -> Tensor | tuple[Tensor, Trace]:
        """See the class."""
        self._check(x)
        x = self.project(self.stem(x)).flatten(2).transpose(1, 2)  # [B, N, D]
        patch_scores, patches = self.patch_pool(x)
        x = x + self.patch_position
        if self.config.patch_count < self.config.num_patches:
            x = gather_tokens(x, patches)  # [B, kept, D]
        head = (self.class_token + self.class_position).expand(x.shape[0], -1, -1)
        x = torch.cat((head, x), dim=1)  # [B, 1 + kept, D]
        alive, tokens = patches, []
        for block in self.blocks:
            x, kept = block(x)
            if return_trace:
                alive = alive if kept is None else alive.gather(1, kept)
                tokens.append(alive)
        cls = self.norm(x[:, 0])
        logits: Tensor = self.head(cls)
        return (logits, Trace(patch_scores, patches, tuple(tokens), cls)) if return_trace else logits

    def _check(self, x: Tensor) -> None:
        size, channels = self.config.image_size, self.config.in_channels
        if x.ndim != 4 or x.shape[1] != channels or x.shape[2] != size or x.shape[3] != size:
            raise ValueError(f"expected input [B, {channels}, {size}, {size}], got {list(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"expected a normalised floating-point input, got {x.dtype}")
