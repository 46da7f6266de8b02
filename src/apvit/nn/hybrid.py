"""What APViT and TransFER share: IR stem, projection, class token, positions, pre-norm blocks, linear head."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, Self, overload

import torch
from torch import Tensor, nn

from .stem import IRStem
from .transformer import LAYER_NORM_EPS, PoolingBlock


@dataclass(frozen=True)
class HybridConfig:
    """The hyper-parameters that every family has; the defaults are the papers'. Not built itself.

    Raises ValueError, with the numbers, for a combination that cannot be built.
    """

    image_size: int = 112
    """Height and width of a face in pixels; a multiple of 2^stages."""
    in_channels: int = 3
    """Channels of a face: 3 for RGB, 1 for gray."""
    num_classes: int = 7
    """Expressions; training takes their number from the data."""
    stem_width: int = 64
    """Channels of the stem's first convolution."""
    stem_stages: tuple[tuple[int, int], ...] = ((64, 3), (128, 4), (256, 14))
    """Stages of the stem as pairs (channels, units); each halves the map."""
    dim: int = 768
    """Channels of a token; a multiple of num_heads."""
    depth: int = 8
    """Transformer blocks."""
    num_heads: int = 8
    """Attention heads of a block."""
    mlp_ratio: float = 3.0
    """Width of a block's MLP, relative to dim."""
    family: str = field(default="", kw_only=True)
    """Which model these are hyper-parameters of. A field, so that a weight file says it; it has one legal value."""

    def __post_init__(self) -> None:
        if self.family != type(self).family:
            raise ValueError(f"family must be {type(self).family!r} in {type(self).__name__}, got {self.family!r}")
        for entry in fields(self):
            object.__setattr__(self, entry.name, _plain(getattr(self, entry.name)))
        # Tuples, so that a configuration read from JSON or YAML equals one written in Python.
        object.__setattr__(self, "stem_stages", tuple((int(c), int(u)) for c, u in self.stem_stages))
        for name in ("image_size", "in_channels", "num_classes", "stem_width", "dim", "depth", "num_heads"):
            self._check_count(name)
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

    def _check_count(self, name: str) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}")

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
        """Patches that enter the first block."""
        return self.num_patches

    @property
    def token_counts(self) -> tuple[int, ...]:
        """Non-class tokens after each block."""
        return (self.patch_count,) * self.depth

    @property
    def mlp_hidden(self) -> int:
        """Width of the MLP's hidden layer."""
        return int(self.dim * self.mlp_ratio)

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON and YAML can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; ValueError names unknown or malformed entries."""
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            close = difflib.get_close_matches(unknown[0], known, n=1)
            meant = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
            raise ValueError(f"unknown hyper-parameters {', '.join(unknown)}{meant}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"malformed hyper-parameters: {error}") from error


def _plain(value: Any) -> Any:
    """Python's own numbers for numpy's, also in tuples and lists, so that JSON can hold them; all else as it is."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(_plain, value))
    if isinstance(value, (bool, int, float)) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


class Trace(NamedTuple):
    """What the model looked at and kept, for explanation and tests; without pooling, all patches."""

    patch_scores: (
        Tensor  # [B, N] of every patch of the feature map, row-major: APP's score, or TransFER's attention map
    )
    patches: Tensor  # [B, kept] int64 ascending ids of the patches that entered the first block
    tokens: tuple[Tensor, ...]  # per block [B, kept_i] int64 original patch ids alive after it, class token not counted
    cls: Tensor  # [B, D] class token after the final norm: the face's embedding


class HybridModel(nn.Module, ABC):
    """Face [B, C, H, W] float, normalised -> logits [B, classes]; with `return_trace=True` also a `Trace`.

    H = W = config.image_size. Raises ValueError for another shape or an integer dtype. A family says in `_tokens` how
    a feature map becomes tokens.
    Initialised as the official code: head and class position zero, everything else of the transformer truncated normal
    with standard deviation 0.02, so that the first step moves only the head.
    """

    def __init__(self, config: HybridConfig, *, token_score: str = "sum", head_drop: float = 0.0):
        super().__init__()
        self.config = config
        dim, patches = config.dim, config.num_patches
        self.stem = IRStem(config.in_channels, config.stem_width, config.stem_stages)
        self.project = nn.Conv2d(config.stem_stages[-1][0], dim, 1)
        self.class_token = nn.Parameter(torch.empty(1, 1, dim))
        self.class_position = nn.Parameter(torch.zeros(1, 1, dim))
        self.patch_position = nn.Parameter(torch.empty(1, patches, dim))
        alive, blocks = config.patch_count, []
        for count in config.token_counts:
            keep = None if count == alive else count
            blocks.append(PoolingBlock(dim, config.num_heads, config.mlp_hidden, keep, token_score, head_drop))
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
        x, patch_scores, patches = self.embed(x)
        alive, tokens = patches, []
        for i, block in enumerate(self.blocks, 1):
            # After the last block only the class token is read, so it alone is computed there.
            last = i == len(self.blocks)
            x, kept = block(x, class_only=last, select=return_trace or not last)
            if return_trace:
                alive = alive if kept is None else alive.gather(1, kept)
                tokens.append(alive)
        cls = self.norm(x[:, 0])
        logits: Tensor = self.head(cls)
        return (logits, Trace(patch_scores, patches, tuple(tokens), cls)) if return_trace else logits

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Face [B, C, H, W] -> tokens [B, 1 + kept, D] as they enter the blocks, class token first; then the trace's
        patch_scores and patches.
        """
        self._check(x)
        tokens, patch_scores, patches = self._tokens(self.stem(x))
        first = (self.class_token + self.class_position).expand(x.shape[0], -1, -1)
        return torch.cat((first, tokens), dim=1), patch_scores, patches

    @abstractmethod
    def _tokens(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Feature map [B, F, grid, grid] -> tokens [B, kept, D] with positions, patch_scores and patches of `Trace`."""

    def _check(self, x: Tensor) -> None:
        size, channels = self.config.image_size, self.config.in_channels
        if x.ndim != 4 or x.shape[1] != channels or x.shape[2] != size or x.shape[3] != size:
            raise ValueError(f"expected input [B, {channels}, {size}, {size}], got {list(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"expected a normalised floating-point input, got {x.dtype}")
