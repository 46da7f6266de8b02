"""Augmentation of a batch of faces, on whatever device it lies on, as plain torch functions.

Every function takes a `torch.Generator`: the same seed gives the same batch, so a resumed run repeats itself.
Images are [B, C, S, S] float in 0..1 before normalisation; what an affine change uncovers repeats the border.
The paper's own order is in `paper_augmentation`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

ERASING_RATIO = (1 / 3.3, 3.3)
"""Height over width of an erased rectangle (Zhong et al., "Random Erasing Data Augmentation", AAAI 2020)."""


@dataclass(frozen=True)
class Augmentation:
    """The modern augmentation: one affine change, light, erasing.

    Zero switches a change off. Raises ValueError for what is out of range.
    """

    flip: float = 0.5
    """Probability of mirroring."""
    rotate: float = 15.0
    """Largest angle, degrees."""
    scale: float = 0.15
    """Largest relative change of size."""
    shift: float = 0.08
    """Largest shift, fraction of the side."""
    brightness: float = 0.2
    """Largest added value, of a white of 1."""
    contrast: float = 0.3
    """Largest relative change about the face's mean."""
    erase: float = 0.5
    """Probability of filling a rectangle with noise."""
    erase_area: tuple[float, float] = (0.02, 0.2)
    """The rectangle's smallest and largest share of the face."""

    def __post_init__(self) -> None:
        for name in ("flip", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augmentation {name} is a probability in 0..1, got {getattr(self, name)}")
        for name in ("rotate", "scale", "shift", "brightness", "contrast"):
            if not 0 <= getattr(self, name) < (180 if name == "rotate" else 1):
                raise ValueError(f"augmentation {name} is out of range: {getattr(self, name)}")
        if not 0 < self.erase_area[0] <= self.erase_area[1] < 1:
            raise ValueError(f"augmentation erase_area must be two rising fractions, got {self.erase_area}")


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """[count] float32, each drawn from low..high, on the generator's device."""
    return torch.rand(count, generator=generator, device=generator.device) * (high - low) + low


def chosen(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """[count, 1, 1, 1] bool, each true with `probability`: the images that a random change applies to."""
    return (uniform(count, 0, 1, generator) < probability).view(-1, 1, 1, 1)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(images - mean) / std by channel: [B, C, S, S], mean and std [C] in the images' units."""
    return (images - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)


def random_affine(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Mirror, rotate, scale and shift each image, in one bilinear resampling."""
    count = len(images)
    angle = uniform(count, -1, 1, generator) * math.radians(augmentation.rotate)
    size = torch.exp(uniform(count, -1, 1, generator) * math.log1p(augmentation.scale))
    mirror = torch.where(uniform(count, 0, 1, generator) < augmentation.flip, -1.0, 1.0)
    shift = uniform(2 * count, -1, 1, generator).view(count, 2) * 2 * augmentation.shift  # grids span -1..1
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    matrix = torch.stack((cos * mirror, -sin, shift[:, 0], sin * mirror, cos, shift[:, 1]), dim=1).view(count, 2, 3)
    grid = F.affine_grid(matrix.to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def random_light(images: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Change each image's contrast about its mean, and its brightness; values stay in 0..1."""
    shape = (len(images), 1, 1, 1)
    gain = 1 + uniform(len(images), -1, 1, generator).view(shape) * augmentation.contrast
    added = uniform(len(images), -1, 1, generator).view(shape) * augmentation.brightness
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((images - mean) * gain + mean + added).clamp(0, 1)


def random_erasing(
    images: Tensor,
    probability: float,
    area: tuple[float, float],
    generator: torch.Generator,
    *,
    ratio: tuple[float, float] = ERASING_RATIO,
) -> Tensor:
    """Fill a random rectangle with noise N(0, 1), after normalisation, in each image chosen (Zhong et al. 2020).

    area: the rectangle's smallest and largest share of the image; ratio: its smallest and largest height over width,
    drawn evenly on a logarithmic scale.
    """
    count, _, height, width = images.shape
    pixels = uniform(count, *area, generator) * height * width
    tallness = torch.exp(uniform(count, math.log(ratio[0]), math.log(ratio[1]), generator))
    tall, wide = (pixels * tallness).sqrt().clamp(max=height - 1), (pixels / tallness).sqrt().clamp(max=width - 1)
    top = (uniform(count, 0, 1, generator) * (height - tall)).view(-1, 1)
    left = (uniform(count, 0, 1, generator) * (width - wide)).view(-1, 1)
    y, x = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    rows = (y >= top) & (y < top + tall.view(-1, 1))
    columns = (x >= left) & (x < left + wide.view(-1, 1))
    mask = (rows[:, :, None] & columns[:, None, :])[:, None] & chosen(count, probability, generator)
    noise = torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
    return torch.where(mask, noise, images)


def augment(
    images: Tensor, mean: Tensor, std: Tensor, augmentation: Augmentation, generator: torch.Generator
) -> Tensor:
    """uint8 faces [B, C, S, S] -> changed and normalised float32 [B, C, S, S]; mean and std [C] in units of 1/255."""
    x = random_light(random_affine(images.float() / 255, augmentation, generator), augmentation, generator)
    return random_erasing(normalise(x, mean, std), augmentation.erase, augmentation.erase_area, generator)
