"""Synthetic damage to aligned faces, in five severities above clean.

Every change is a function of (seed, corruption, face's name, severity) alone: the same face is damaged alike in every
run, for every weight file, and whatever other faces are there. What is drawn (a place, a direction, the grain of noise)
is drawn once per face and only grows with severity, so that a curve shows severity and not luck.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from apvit.faces.alignment import AlignmentTemplate

from .errors import EvaluationError

Face = npt.NDArray[np.uint8]
"""[S, S] grey or [S, S, 3] RGB."""
Points = npt.NDArray[np.float64]
"""[5, 2] the five landmarks in pixels of the face, (0, 0) being the centre of the first pixel."""

FILL = 128
"""Mid-grey of what covers a face: it brings no light, no edge of its own beyond its border, and no texture."""


@dataclass(frozen=True)
class Corruption:
    """One kind of damage; `apply(face, level, random, landmarks)` gives the damaged face."""

    name: str
    title: str
    unit: str
    """What the levels count, for the axis of a picture."""
    levels: tuple[float, ...]
    """Strength at severities 1 to 5."""
    apply: Callable[[Face, float, np.random.Generator, Points], Face]
    needs_landmarks: bool = False


def corrupt(
    face: Face, corruption: Corruption, severity: int, *, seed: int, source: str, template: AlignmentTemplate | None
) -> Face:
    """The face at `severity` 0 (untouched) to 5; `source` names it, `template` says where its landmarks lie.

    Raises EvaluationError where the corruption covers a landmark and there is no template.
    """
    if severity == 0:
        return face
    if template is None:
        if corruption.needs_landmarks:
            raise EvaluationError(f"{corruption.name}: without an alignment template, eyes and mouth may be anywhere")
        points = np.zeros((5, 2))
    else:
        points = (np.array(template.points) + 0.5) * (len(face) / template.size) - 0.5
    digest = hashlib.sha256(f"{seed}/{corruption.name}/{source}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:16], "little"))
    return corruption.apply(face, corruption.levels[severity - 1], random, points)


def _cover(face: Face, centre: Points, width: float, height: float) -> Face:
    """`face` with a filled rectangle of `width` x `height` pixels, cut at the border."""
    left, top = np.round(centre - np.array((width, height)) / 2 + 0.5).astype(int)
    right, bottom = np.round(centre + np.array((width, height)) / 2 + 0.5).astype(int)
    covered = face.copy()
    covered[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = FILL
    return covered


def _eyes(face: Face, level: float, random: np.random.Generator, points: Points) -> Face:
    between = float(np.linalg.norm(points[1] - points[0]))
    return _cover(face, points[:2].mean(0), 2 * between, level * between)


def _mouth(face: Face, level: float, random: np.random.Generator, points: Points) -> Face:
    between = float(np.linalg.norm(points[1] - points[0]))
    return _cover(face, points[3:].mean(0), 1.4 * between, level * between)


def _block(face: Face, level: float, random: np.random.Generator, points: Points) -> Face:
    side = len(face) * (level / 100) ** 0.5
    centre = side / 2 + random.random(2) * (len(face) - side) - 0.5
    return _cover(face, centre, side, side)


def _blur(face: Face, level: float, random: np.random.Generator, points: Points) -> Face:
    sigma = level / 100 * len(face)
    return np.asarray(cv2.GaussianBlur(face, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.uint8)


def _noise(face: Face, level: float, random: np.random.Generator, points: Points) -> Face:
    return _rounded(face + level * random.standard_normal(face.shape))


def _low_resolution(face: Face, level: float, random: np.random.Generator, points: Points) -> Face:
    size, small = len(face), max(1, round(len(face) / level))
    shrunk = cv2.resize(face, (small, small), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


def _jpeg(face: Face, level: float, random: np.random.Generator, points: Points) -> Face:
    # The codec takes BGR; reversing the channels on both ways keeps RGB.
    coloured = face.ndim == 3
    _, data = cv2.imencode(".jpg", face[..., ::-1] if coloured else face, [cv2.IMWRITE_JPEG_QUALITY, int(level)])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR if coloured else cv2.IMREAD_GRAYSCALE), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1]) if coloured else decoded


def _brightness(face: Face, level: float, random: np.random.Generator, points: Points) -> Face:
    return _rounded(face * 2.0 ** (level * _sign(random)))


def _rotation(face: Face, level: float, random: np.random.Generator, points: Points) -> Face:
    return _warp(face, level * _sign(random), 1.0, np.zeros(2))


def _jitter(face: Face, level: float, random: np.random.Generator, points: Points) -> Face:
    turn, size, *shift = random.uniform(-1, 1, 4)
    share = level / 100
    return _warp(face, 90 * share * turn, float(np.exp(2 * share * size)), np.array(shift) * share * len(face))


def _sign(random: np.random.Generator) -> float:
    return 1.0 if random.random() < 0.5 else -1.0


def _rounded(values: npt.NDArray[np.float64]) -> Face:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _warp(face: Face, degrees: float, scale: float, shift: Points) -> Face:
    centre = (len(face) - 1) / 2
    matrix = np.asarray(cv2.getRotationMatrix2D((centre, centre), degrees, scale), np.float64)
    matrix[:, 2] += shift
    side = (len(face), len(face))
    return np.asarray(
        cv2.warpAffine(face, matrix, side, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


CORRUPTIONS: dict[str, Corruption] = {
    corruption.name: corruption
    for corruption in (
        Corruption("eyes", "Eyes covered", "height of a bar / eye distance", (0.2, 0.4, 0.6, 0.8, 1.0), _eyes, True),
        # Up to 0.9, which leaves the nose to be seen.
        Corruption("mouth", "Mouth covered", "height of a bar / eye distance", (0.1, 0.3, 0.5, 0.7, 0.9), _mouth, True),
        Corruption("blocks", "Random block", "% of the face covered", (8, 16, 24, 32, 40), _block),
        Corruption("blur", "Blur", "Gaussian sigma, % of the side", (1, 2, 3, 4, 5), _blur),
        Corruption("noise", "Noise", "standard deviation, of 255", (8, 16, 24, 32, 40), _noise),
        Corruption("resolution", "Low resolution", "times fewer pixels a side", (1.5, 2, 3, 4, 6), _low_resolution),
        Corruption("jpeg", "JPEG", "quality", (50, 30, 20, 10, 5), _jpeg),
        Corruption("brightness", "Brightness", "stops darker or brighter", (0.5, 1, 1.5, 2, 2.5), _brightness),
        Corruption("rotation", "Rotation", "degrees, either way", (9, 18, 27, 36, 45), _rotation),
        # At 10: up to 10 % shift, 9 degrees, and a fifth smaller or larger, each drawn evenly.
        Corruption("jitter", "Detector jitter", "largest shift, % of the side", (2, 4, 6, 8, 10), _jitter),
    )
}
"""Every kind of damage, by its name on the command line."""
