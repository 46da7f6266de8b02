"""Augmentation of a batch of faces, on whatever device it lies on, as plain torch functions.

Every function takes a `torch.Generator`: the same seed gives the same batch, so a resumed run repeats itself.
Images are [B, C, S, S] float in 0..1 before normalisation; what an affine change uncovers repeats the border.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """Strengths of the random changes; zero switches one off. Raises ValueError for what is out of range."""

    flip: float = 0.5  # probability of mirroring
    rotate: float = 15.0  # largest angle, degrees
    scale: float = 0.15  # largest relative change of size
    shift: float = 0.08  # largest shift, fraction of the side
    brightness: float = 0.2  # largest added value
    contrast: float = 0.3  # largest relative change about the face's mean
    erase: float = 0.5  # probability of erasing a rectangle
    erase_area: tuple[float, float] = (0.02, 0.2)  # its smallest and largest share of the image

    def __post_init__(self) -> None:
        for name in ("flip", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augmentation {name} is a probability in 0..1, got {getattr(self, name)}")
        for name in ("rotate", "scale", "shift", "brightness", "contrast"):
            if not 0 <= getattr(self, name) < (180 if name == "rotate" else 1):
                raise ValueError(f"augmentation {name} is out of range: {getattr(self, name)}")
        if not 0 < self.erase_area[0] <= self.erase_area[1] < 1:
            raise ValueError(f"augmentation erase_area must be two rising fractions, got {self.erase_area}")


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator, device=generator.device) * (high - low) + low


def random_affine(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Mirror, rotate, scale and shift each image, in one bilinear resampling."""
    count = len(images)
    angle = _uniform(count, -1, 1, generator) * math.radians(augmentation.rotate)
    size = torch.exp(_uniform(count, -1, 1, generator) * math.log1p(augmentation.scale))
    mirror = torch.where(_uniform(count, 0, 1, generator) < augmentation.flip, -1.0, 1.0)
    shift = _uniform(2 * count, -1, 1, generator).view(count, 2) * 2 * augmentation.shift  # grids span -1..1
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    matrix = torch.stack((cos * mirror, -sin, shift[:, 0], sin * mirror, cos, shift[:, 1]), dim=1).view(count, 2, 3)
    grid = F.affine_grid(matrix.to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def random_light(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Change each image's contrast about its mean, and its brightness; values stay in 0..1."""
    shape = (len(images), 1, 1, 1)
    gain = 1 + _uniform(len(images), -1, 1, generator).view(shape) * augmentation.contrast
    added = _uniform(len(images), -1, 1, generator).view(shape) * augmentation.brightness
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((images - mean) * gain + mean + added).clamp(0, 1)


def random_erasing(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Fill a random rectangle with noise N(0, 1), after normalisation, in each image chosen (Zhong et al. 2020)."""
    count, _, height, width = images.shape
    area = _uniform(count, *augmentation.erase_area, generator) * height * width
    ratio = torch.exp(_uniform(count, -1, 1, generator) * math.log(3.3))
    tall, wide = (area * ratio).sqrt().clamp(max=height - 1), (area / ratio).sqrt().clamp(max=width - 1)
    top = (_uniform(count, 0, 1, generator) * (height - tall)).view(-1, 1)
    left = (_uniform(count, 0, 1, generator) * (width - wide)).view(-1, 1)
    y, x = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    rows = (y >= top) & (y < top + tall.view(-1, 1))
    columns = (x >= left) & (x < left + wide.view(-1, 1))
    chosen = (_uniform(count, 0, 1, generator) < augmentation.erase).view(-1, 1, 1)
    mask = (rows[:, :, None] & columns[:, None, :] & chosen)[:, None]
    noise = torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
    return torch.where(mask, noise, images)


def augment(
    images: Tensor, mean: Tensor, std: Tensor, augmentation: Augmentation, generator: torch.Generator
) -> Tensor:
    """uint8 faces [B, C, S, S] -> changed and normalised float32 [B, C, S, S]; mean and std [C] in units of 1/255."""
    x = random_light(random_affine(images.float() / 255, augmentation, generator), augmentation, generator)
    return random_erasing((x - mean.view(-1, 1, 1)) / std.view(-1, 1, 1), augmentation, generator)
