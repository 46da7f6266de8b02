"""Real faces to prove an exported file on: of a prepared dataset, or of the photographs in installed packages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apvit.weights import Card

from .engine import EngineError

VARIANTS = 32
"""Crops made of each package photograph's face, each shifted, turned and scaled a little."""


def dataset_faces(data: str | Path, card: Card, limit: int = 512) -> NDArray[np.uint8]:
    """The first `limit` faces of the split `valid` (or the file's own) of `data`, uint8 [N, S, S] or [N, S, S, 3].

    Raises DataError for data that cannot be read and EngineError for faces of another size than the card's.
    """
    from apvit.data import open_split

    split = open_split(data)
    faces = split.select(range(min(limit, len(split)))).pixels(card.preprocessing.colour)
    if faces.shape[1] != card.preprocessing.size:
        raise EngineError(f"the faces are {faces.shape[1]} px, but the weights read {card.preprocessing.size} px")
    return faces


def package_faces(card: Card, seed: int = 0) -> NDArray[np.uint8]:
    """Aligned crops uint8 [N, S, S, 3] of the faces in scikit-image's `astronaut` and matplotlib's `grace_hopper.jpg`.

    Each face in VARIANTS slightly different frames, half of them mirrored. Raises EngineError where the packages are
    not installed, or the card names no alignment template.
    """
    try:
        from matplotlib.cbook import get_sample_data
        from skimage.data import astronaut
    except ModuleNotFoundError:
        raise EngineError(
            "a proof needs real faces: give a dataset (data='D'), or pip install 'apvit[demo]' for two photographs"
        ) from None
    from apvit.faces.alignment import align
    from apvit.faces.detection import create_detector
    from apvit.faces.pictures import read_picture

    template = card.preprocessing.alignment
    if template is None:
        raise EngineError("the weights name no alignment template: give faces of theirs (data='D')")
    hopper = read_picture(get_sample_data("grace_hopper.jpg", asfileobj=False))
    photographs = [np.asarray(astronaut()), hopper]  # type: ignore[no-untyped-call]
    random = np.random.default_rng(seed)
    crops = []
    for photograph, found in zip(photographs, create_detector("mtcnn").detect(photographs), strict=True):
        landmarks = found[0].landmarks
        centre, spread = landmarks.mean(0), np.ptp(landmarks, axis=0).max()
        for variant in range(VARIANTS):
            angle, scale = random.normal(0, 0.1), np.exp(random.normal(0, 0.08))
            turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            moved = (landmarks - centre) @ turn.T + centre + random.normal(0, 0.05 * spread, 2)
            crop = align(photograph, moved, template, card.preprocessing.size)
            crops.append(crop[:, ::-1] if variant % 2 else crop)
    return np.stack(crops)
