"""TransFER, the method that APViT improves on (Xue, Wang, Guo, ICCV 2021): local attention maps instead of pooling.

Two attention droppings act in training only: MAD silences one of the local CNNs, MSAD one head of each block, so that
several facial regions are looked at. They draw from torch's default generator of the input's device, and the model
keeps no generator of its own: a training whose every step must be a function of (seed, epoch, step), so that it resumes
exactly, calls `torch.manual_seed` before each forward pass. The draws are part of the graph under `torch.compile`; its
default backend numbers them otherwise than eager mode does, equally reproducibly.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .dropping import drop_one
from .hybrid import HybridConfig, HybridModel


@dataclass(frozen=True)
class TransFERConfig(HybridConfig):
    """Every hyper-parameter of a TransFER; the defaults are the paper's model.

    Raises ValueError, with the numbers, for a combination that cannot be built.
    """

    local_branches: int = 2
    """Local CNNs, each with its attention map."""
    local_width: int = 16
    """Hidden channels of a local CNN."""
    map_drop: float = 0.6
    """MAD: probability, per sample, that one of the maps is zeroed."""
    head_drop: float = 0.3
    """MSAD: probability, per sample and block, that one of the heads is zeroed."""
    family: str = field(default="transfer", kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("local_branches", "local_width"):
            self._check_count(name)
        for name in ("map_drop", "head_drop"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability in [0, 1], got {getattr(self, name)}")
        if self.map_drop > 0 and self.local_branches == 1:
            raise ValueError(
                f"map_drop {self.map_drop} would zero the only attention map and all features with it; "
                f"set it to 0 or local_branches to 2 or more, got 1"
            )


class LocalCNN(nn.Module):
    """Where to look: feature map [B, F, H, W] -> attention map [B, 1, H, W] in (0, 1)."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 1, 1)
        self.norm2 = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm2(self.conv2(self.norm1(self.conv1(x)).relu())).sigmoid()  # type: ignore[no-any-return]


class TransFER(HybridModel):
    """Local CNNs weigh the feature map before projection; the blocks keep every token. See `HybridModel`.

    The trace's patch_scores are the attention map that the features were multiplied with: the larger of the branches'
    values at each patch, in (0, 1), in training after MAD; float32 or float64.
    """

    config: TransFERConfig

    def __init__(self, config: TransFERConfig):
        super().__init__(config, head_drop=config.head_drop)
        channels = config.stem_stages[-1][0]
        self.local = nn.ModuleList(LocalCNN(channels, config.local_width) for _ in range(config.local_branches))

    def _tokens(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = torch.cat([cnn(features) for cnn in self.local], dim=1)  # [B, branches, grid, grid]
        if self.training and self.config.map_drop > 0:
            dropped = drop_one(maps.shape[0], maps.shape[1], self.config.map_drop, maps.device)
            maps = maps.masked_fill(dropped[:, :, None, None], 0)
        attention = maps.amax(1, keepdim=True)
        x = self.project(features * attention).flatten(2).transpose(1, 2) + self.patch_position  # [B, N, D]
        scores = attention.detach().flatten(1)
        patches = torch.arange(self.config.num_patches, device=x.device).expand(x.shape[0], -1)
        return x, scores if scores.dtype == torch.float64 else scores.float(), patches
