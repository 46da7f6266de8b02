"""Faces of a dataset in photographs without faces: where they go, how they are pasted, and whether they were found.

Pasting must neither help nor hinder a detector. The whole photograph is grey, as the faces are. Inside the crop the
picture shows the face alone; outside, the crop's border is replicated and fades into the photograph over a sixth of the
crop's width, so that no sharp frame surrounds the face and nothing of it is lost. A pasted face of 160 px still has the
detail of 48 pixels; a real one would be sharper.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from apvit.faces.detection import Detection

PHOTOGRAPHS = ("cat", "coffee", "rocket", "brick", "grass", "gravel", "stereo_motorcycle")  # scikit-image's
PICTURE = 336  # px, side of the pictures; one of 192 px turned by 20°, with its fade, fits
SIZES = (48, 64, 96, 128, 160)  # px, side of the pasted crop
UPRIGHT, TILTED = 20.0, 45.0  # degrees; turned up to the first, and between the two
TILTED_SHARE = 0.3
FADE, HARD = 1 / 6, 1e-6  # of the crop's width; the second as a control
OVERLAP = 0.3  # intersection over union of a box and the pasted square; nearly all have 0.5 to 0.9


@dataclass(frozen=True)
class Placement:
    """Where a face goes: `size` px wide, turned by `turn` degrees, around `centre` x, y of a picture."""

    size: int
    turn: float
    centre: tuple[float, float]
    photograph: int
    corner: tuple[float, float]
    """Which part of the photograph the picture is, 0..1 from left and top."""

    def matrix(self, crop: int) -> np.ndarray:
        """Maps pixels of a `crop` x `crop` face to pixels of the picture, [2, 3]."""
        angle = np.deg2rad(self.turn)
        linear = self.size / crop * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.column_stack([linear, np.array(self.centre) - linear @ np.full(2, (crop - 1) / 2)])


def read_photographs() -> list[np.ndarray]:
    """Grey uint8 [H, W], at least as large as a picture."""
    from skimage import data

    photographs = []
    for name in PHOTOGRAPHS:
        loaded = getattr(data, name)()
        pixels = loaded[0] if isinstance(loaded, tuple) else loaded  # the motorcycle is a stereo pair
        grey = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        scale = max(1.0, PICTURE / min(grey.shape))
        photographs.append(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR))
    return photographs


def draw_placements(count: int, rng: np.random.Generator) -> list[Placement]:
    """As many faces of each size as of any other, in random order; turns of either kind, and all else, uniform."""
    sizes = rng.permutation(np.resize(SIZES, count))
    placements = []
    for size in sizes.tolist():
        tilted = rng.random() < TILTED_SHARE
        turn = rng.choice([-1, 1]) * (rng.uniform(UPRIGHT, TILTED) if tilted else rng.uniform(0, UPRIGHT))
        placements.append(draw_place(size, turn, rng))
    return placements


def draw_place(size: int, turn: float, rng: np.random.Generator) -> Placement:
    """Somewhere in a picture, for a face of this size and turn that fits into it with its fade."""
    angle = np.deg2rad(abs(turn))
    # Half the side of the upright square around the turned crop and its fade.
    half = size * (0.5 + FADE) * (np.cos(angle) + np.sin(angle))
    x, y = rng.uniform(half, PICTURE - half, 2).tolist()
    photograph = int(rng.integers(len(PHOTOGRAPHS)))
    left, top = rng.uniform(0, 1, 2).tolist()
    return Placement(size, turn, (x, y), photograph, (left, top))


def paste(face: np.ndarray, placement: Placement, photographs: list[np.ndarray], fade: float = FADE) -> np.ndarray:
    """`face` [S, S] grey in its photograph, fading over `fade` of its width: uint8 [PICTURE, PICTURE, 3]."""
    photograph = photographs[placement.photograph]
    top, left = (
        round(share * (length - PICTURE))
        for share, length in zip(placement.corner[::-1], photograph.shape, strict=True)
    )
    ground = photograph[top : top + PICTURE, left : left + PICTURE]
    crop = len(face)
    matrix = placement.matrix(crop)
    pasted = cv2.warpAffine(
        face, matrix, (PICTURE, PICTURE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.float64)
    inverse = np.linalg.inv(matrix[:, :2])
    steps = np.arange(PICTURE)
    pixels = np.stack(np.meshgrid(steps, steps), axis=-1) - np.array(placement.centre)
    outside = np.maximum(np.abs(pixels @ inverse.T) - crop / 2, 0)
    opacity = np.clip(1 - np.hypot(outside[..., 0], outside[..., 1]) / (crop * fade), 0, 1)
    grey = np.rint(opacity * pasted + (1 - opacity) * ground).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def is_pasted_face(detection: Detection, placement: Placement) -> bool:
    """Whether the box lies where the face was pasted."""
    x1, y1, x2, y2 = detection.box
    (x, y), half = placement.centre, placement.size / 2
    width = min(x2, x + half) - max(x1, x - half)
    height = min(y2, y + half) - max(y1, y - half)
    shared = max(width, 0) * max(height, 0)
    return shared > OVERLAP * ((x2 - x1) * (y2 - y1) + placement.size**2 - shared)
