"""The augmentation of the official APViT training, batched on whatever device the faces lie on.

Its steps and their order are those of the official configuration (`configs/_base_/datasets`, `architecture.md`):
rotate, random resized crop, flip, grey, colour jitter, normalise, random erasing. Images are [B, C, H, W] float in
0..1 before normalisation; every function takes a `torch.Generator`, and the same seed gives the same batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from apvit.data.augmentation import chosen, normalise, random_erasing, uniform

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R 601)."""


@dataclass(frozen=True)
class PaperAugmentation:
    """The official augmentation, in the official order; the defaults are the official strengths.

    Zero switches a change off. Raises ValueError for what is out of range.
    """

    rotate: float = 6.0
    """Largest angle, degrees."""
    rotate_probability: float = 0.5
    """Probability of rotating."""
    crop_scale: tuple[float, float] = (0.8, 1.0)
    """Smallest and largest share of the face's area that the random square crop keeps."""
    flip: float = 0.5
    """Probability of mirroring."""
    grey: float = 0.2
    """Probability of losing colour."""
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    """Largest change of brightness, contrast and saturation (relative), and of hue (of a full turn)."""
    jitter_probability: float = 0.8
    """Probability of changing colours."""
    erase: float = 0.5
    """Probability of filling a rectangle with noise."""
    erase_area: tuple[float, float] = (0.02, 0.33)
    """The rectangle's smallest and largest share of the face."""
    erase_ratio: tuple[float, float] = (0.3, 3.3)
    """The rectangle's smallest and largest height over width."""

    def __post_init__(self) -> None:
        for name in ("rotate_probability", "flip", "grey", "jitter_probability", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"paper_augmentation {name} is a probability in 0..1, got {getattr(self, name)}")
        if not 0 <= self.rotate < 180:
            raise ValueError(f"paper_augmentation rotate must be 0 to 180 degrees, got {self.rotate}")
        for name, upper in (("crop_scale", 1.0), ("erase_area", 1.0), ("erase_ratio", math.inf)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= upper:
                raise ValueError(f"paper_augmentation {name} must be two rising numbers in 0..{upper}, got {low, high}")
        if len(self.jitter) != 4 or not all(0 <= v <= 1 for v in self.jitter) or self.jitter[3] > 0.5:
            raise ValueError(f"paper_augmentation jitter must be four numbers in 0..1 (hue: ..0.5), got {self.jitter}")


def random_rotation(images: Tensor, degrees: float, probability: float, generator: torch.Generator) -> Tensor:
    """Rotate each image chosen about its centre by up to `degrees`, bilinear; what it uncovers is black."""
    count = len(images)
    angle = uniform(count, -1, 1, generator) * math.radians(degrees)
    angle = angle * chosen(count, probability, generator).view(-1)
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    matrix = torch.stack((cos, -sin, zero, sin, cos, zero), dim=1).view(count, 2, 3)
    grid = F.affine_grid(matrix.to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def resize_crops(images: Tensor, top: Tensor, left: Tensor, side: Tensor, size: int) -> Tensor:
    """The square crops at `top`, `left` (whole pixels, [B]) of `side` [B], resized to `size`: [B, C, size, size].

    Antialiased bilinear, as Pillow resizes: where a crop shrinks, the triangle filter widens with it. Both passes are
    matrix products with one row of filter weights per output pixel, so that every image may have its own crop.
    """
    rows = _filter(top, side, images.shape[-2], size)[:, None]  # [B, 1, size, H]
    columns = _filter(left, side, images.shape[-1], size)[:, None]
    return rows @ images @ columns.transpose(-1, -2)


def _filter(start: Tensor, side: Tensor, length: int, size: int) -> Tensor:
    """Triangle filter weights [B, size, length] that resample the pixels start..start+side to `size`."""
    start, side = start.float().view(-1, 1, 1), side.float().view(-1, 1, 1)
    pixel = torch.arange(length, device=start.device) + 0.5
    scale = side / size
    centre = start + (torch.arange(size, device=start.device).view(-1, 1) + 0.5) * scale
    weights = (1 - (pixel - centre).abs() / scale.clamp(min=1)).clamp(min=0)
    weights = weights * ((pixel > start) & (pixel < start + side))  # a crop knows nothing beyond its edge
    return weights / weights.sum(-1, keepdim=True)


def random_resized_crop(images: Tensor, size: int, scale: tuple[float, float], generator: torch.Generator) -> Tensor:
    """A random square of each image [B, C, P, P], `scale` of its area, resized to [B, C, size, size]."""
    count, whole = len(images), images.shape[-1]
    side = (uniform(count, *scale, generator).sqrt() * whole).round().clamp(1, whole)
    top = (uniform(count, 0, 1, generator) * (whole - side + 1)).floor()
    left = (uniform(count, 0, 1, generator) * (whole - side + 1)).floor()
    return resize_crops(images, top, left, side, size)


def random_flip(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Mirror each image chosen."""
    return torch.where(chosen(len(images), probability, generator), images.flip(-1), images)


def to_grey(images: Tensor) -> Tensor:
    """ITU-R 601 luma of RGB images [B, 3, H, W]: [B, 1, H, W]."""
    return (images * images.new_tensor(LUMA).view(-1, 1, 1)).sum(1, keepdim=True)


def random_grey(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Take the colour from each RGB image chosen; images of one channel have none."""
    grey = chosen(len(images), probability, generator)
    return images if images.shape[1] == 1 else torch.where(grey, to_grey(images).expand_as(images), images)


def turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Add `turn` (of a full turn, broadcastable to [B, 1, 1, 1]) to the HSV hue of RGB images [B, 3, H, W]."""
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    safe = torch.where(chroma > 0, chroma, 1.0)
    # In sixths of a turn. Where two channels share the maximum, either formula gives the same hue.
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = hue + 6 * turn.view(-1, 1, 1)
    sector = torch.stack([(offset + hue) % 6 for offset in (5, 3, 1)], dim=1)
    return value[:, None] - chroma[:, None] * torch.minimum(sector, 4 - sector).clamp(0, 1)


def colour_jitter(
    images: Tensor, jitter: tuple[float, float, float, float], probability: float, generator: torch.Generator
) -> Tensor:
    """Change brightness, contrast, saturation and hue, in this order, of each image chosen; values stay in 0..1.

    The first three are factors in 1 - j .. 1 + j: of the image, of its difference from its mean grey, and of its
    difference from its own grey. The official code draws the order of the four for each image; that needs all orders
    computed for all images of a batch, and is left out. An image of one channel has neither saturation nor hue.
    """
    count = len(images)
    factors = [uniform(count, -1, 1, generator).view(-1, 1, 1, 1) * strength for strength in jitter]
    brightness, contrast, saturation = (1 + factor for factor in factors[:3])
    coloured = images.shape[1] == 3
    x = (images * brightness).clamp(0, 1)
    mean = (to_grey(x) if coloured else x).mean((1, 2, 3), keepdim=True)
    x = (mean + (x - mean) * contrast).clamp(0, 1)
    if coloured:
        grey = to_grey(x)
        x = turn_hue((grey + (x - grey) * saturation).clamp(0, 1), factors[3]).clamp(0, 1)
    return torch.where(chosen(count, probability, generator), x, images)


def augment_as_paper(
    images: Tensor, mean: Tensor, std: Tensor, size: int, augmentation: PaperAugmentation, generator: torch.Generator
) -> Tensor:
    """uint8 faces [B, C, P, P] -> changed and normalised float32 [B, C, size, size].

    P may be above or below `size`: the random crop resizes. mean and std [C] in units of 1/255.
    """
    a = augmentation
    x = random_rotation(images.float() / 255, a.rotate, a.rotate_probability, generator)
    x = random_resized_crop(x, size, a.crop_scale, generator)
    x = random_flip(x, a.flip, generator)
    x = random_grey(x, a.grey, generator)
    x = colour_jitter(x, a.jitter, a.jitter_probability, generator)
    return random_erasing(normalise(x, mean, std), a.erase, a.erase_area, generator, ratio=a.erase_ratio)
