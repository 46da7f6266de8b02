"""From one picture to its aligned faces: which of the faces found is the annotated one, and its warp to the template.

A box that the dataset gives says which face; without one it is the face nearest the picture's centre or the largest,
as asked. The dataset's own landmarks replace detection only where asked for, because annotators put them elsewhere
than the detector that will later find the faces to recognise. Where no face is found there is no crop: a blind cut
from the middle would put backgrounds among the faces.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from apvit.data.aligning_search import Box, Detectors, Picture, Search
from apvit.data.errors import DataError
from apvit.data.listing import Listed
from apvit.data.pictures import decode, pixel_group
from apvit.faces.alignment import AlignmentError, AlignmentTemplate, align, similarity
from apvit.faces.detection import Detection

CHOICES = ("nearest-centre", "largest", "given")
"""Which face to take where no box is given; "given" takes the dataset's landmarks, where there are any, or its box."""

MIN_OVERLAP = 0.3
"""The face found must overlap a given box by this intersection over union: many datasets frame faces wider than
detectors do, up to twice the area, while a neighbour's face hardly touches the box."""


@dataclass(frozen=True, slots=True)
class AlignedFace:
    """A face warped to the template."""

    image: bytes
    """PNG of the crop; with one channel where the crop has no colour."""
    landmarks: tuple[float, ...]
    """x, y of the five landmarks in pixels of the crop: 10 numbers."""
    framing: str
    """How it was chosen: "only face", "nearest-centre of 3", "largest of 3", "given box, overlap 0.71" (intersection
    over union with the face found), or "given landmarks"."""
    group: str
    """Identity of the whole picture's pixels."""


class _NoFaceError(Exception):
    """Ends a sentence that begins with the face's name."""


def align_picture(
    encoded: bytes, faces: Sequence[Listed], template: AlignmentTemplate, choose: str, detectors: Detectors
) -> list[AlignedFace | str]:
    """For each of the `faces` that the picture `encoded` shows: its crop, or one sentence why there is none.

    The crops have the template's size; `choose` is one of CHOICES. Faces are looked for at most once.
    """
    try:
        search = Search(decode(encoded, faces[0].picture), detectors)
    except DataError as error:
        return [str(error) for _ in faces]
    group = pixel_group(search.pixels)
    results: list[AlignedFace | str] = []
    for face in faces:
        try:
            landmarks, framing = _choose(search, face, choose)
            results.append(AlignedFace(*_warp(search.pixels, landmarks, template), framing, group))
        except (_NoFaceError, AlignmentError) as error:
            results.append(f"{face.source}: {error}")
    return results


def _choose(search: Search, face: Listed, choose: str) -> tuple[npt.NDArray[np.float64], str]:
    """The landmarks [5, 2] of the annotated face in pixels of the picture, and how it was chosen."""
    if choose == "given" and face.landmarks is not None:
        return _given_landmarks(search, face.landmarks), "given landmarks"
    if face.box is not None:
        found, shared = _best_over(search, face.box)
        framing = f"given box, overlap {shared:.2f}"
    elif choose == "given":
        raise _NoFaceError("the dataset gives neither box nor landmarks; choose nearest-centre or largest")
    elif not search.found:
        raise _NoFaceError(f"no face is found in its {_size(search)} pixels")
    else:
        by_rank = _distance_to_centre if choose == "nearest-centre" else _smallness
        found = min(search.found, key=lambda detection: by_rank(search, detection))
        framing = "only face" if len(search.found) == 1 else f"{choose} of {len(search.found)}"
    return found.landmarks.astype(np.float64), framing


def _given_landmarks(search: Search, values: Sequence[float]) -> npt.NDArray[np.float64]:
    landmarks = np.array(values, np.float64).reshape(5, 2)
    x, y = landmarks.mean(axis=0)
    if not (0 <= x < search.width and 0 <= y < search.height):  # or not finite
        raise _NoFaceError(f"the given landmarks lie outside its {_size(search)} pixels; correct or remove them")
    return landmarks


def _best_over(search: Search, box: Box) -> tuple[Detection, float]:
    """The face that overlaps a given box best, and by how much; in a close-up where the whole picture shows none."""
    named = f"the given box ({', '.join(f'{edge:g}' for edge in box)})"
    inside = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], search.width), min(box[3], search.height))
    if not all(map(math.isfinite, box)) or inside[2] <= inside[0] or inside[3] <= inside[1]:
        raise _NoFaceError(f"{named} holds nothing of its {_size(search)} pixels; correct or remove the box")

    def shared(detection: Detection) -> float:
        return overlap(detection.box, inside)

    best = max(search.found, key=shared, default=None)
    if best is None or shared(best) < MIN_OVERLAP:
        best = max(search.close_up(inside), key=shared, default=None)
    if best is None or shared(best) < MIN_OVERLAP:
        raise _NoFaceError(f"no face is found that shares {MIN_OVERLAP} of their union with {named}")
    return best, shared(best)


def overlap(a: Box, b: Box) -> float:
    """Intersection over union, 0..1, of two boxes of positive area."""
    shared = _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return shared / (_area(a) + _area(b) - shared)


def _area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def _distance_to_centre(search: Search, face: Detection) -> float:
    x1, y1, x2, y2 = face.box
    return math.hypot((x1 + x2 - search.width) / 2, (y1 + y2 - search.height) / 2)


def _smallness(search: Search, face: Detection) -> float:
    return -_area(face.box)


def _size(search: Search) -> str:
    return f"{search.width} x {search.height}"


def _warp(
    pixels: Picture, landmarks: npt.NDArray[np.float64], template: AlignmentTemplate
) -> tuple[bytes, tuple[float, ...]]:
    """The crop as PNG, and where the landmarks lie in it."""
    crop = align(pixels, landmarks, template)
    matrix = similarity(landmarks, template.points)
    moved = landmarks @ matrix[:, :2].T + matrix[:, 2]
    grey = (crop == crop[..., :1]).all()
    file = io.BytesIO()
    Image.fromarray(crop[..., 0] if grey else crop).save(file, "PNG")
    return file.getvalue(), tuple(moved.ravel().tolist())
