"""Alignment: warping a face so that its five landmarks lie where a named template wants them.

A network sees a photograph only through its crop, so the template is part of the weights' contract (the card names
it). Landmarks are ordered image-left eye, image-right eye, nose, image-left mouth corner, image-right mouth corner;
their coordinates are OpenCV's, (0, 0) being the centre of the first pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Point = tuple[float, float]

# OpenCV's warp addresses its source with 16-bit integers.
_MAX_SIDE = 32_766
# Beyond this many samples per output pixel and axis, more samples no longer change an 8-bit crop.
_MAX_SUPERSAMPLING = 32
# A mirror image that fits this many times better is no turned face: of detectors' profiles it fits worse (at most 0.8
# times as well), of a frontal face's landmarks in mirrored order 4 times or more.
_MIRRORED = 2
# In pixels. No picture reaches so far, and products of larger numbers leave the range of floats.
_FARTHEST = 1e9


class AlignmentError(ValueError):
    """Landmarks or a template cannot be used for alignment."""


@dataclass(frozen=True)
class AlignmentTemplate:
    """Where the five landmarks lie in a square crop: `points` in pixels of a `size` x `size` crop.

    Raises AlignmentError unless there are five finite points that are not all equal, and the size is positive.
    """

    name: str
    size: int
    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise AlignmentError(f"an alignment template needs a name, not {self.name!r}")
        if not isinstance(self.size, int) or isinstance(self.size, bool) or self.size < 1:
            raise AlignmentError(
                f"alignment template {self.name!r} needs a size of at least 1 pixel, not {self.size!r}"
            )
        try:
            points = tuple((float(x), float(y)) for x, y in self.points)
        except (TypeError, ValueError, OverflowError) as error:
            raise AlignmentError(f"alignment template {self.name!r} needs points that are pairs of numbers") from error
        object.__setattr__(self, "points", points)
        if len(points) != 5 or not np.isfinite(points).all() or len(set(points)) < 2:
            raise AlignmentError(
                f"alignment template {self.name!r} needs five finite points, not all equal; it has {points}"
            )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict with the keys name, size and points."""
        return {**asdict(self), "points": [list(point) for point in self.points]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AlignmentTemplate:
        """The inverse of `to_dict`; AlignmentError for missing or unknown keys."""
        wanted = {"name", "size", "points"}
        if set(values) != wanted:
            raise AlignmentError(
                f"an alignment template has the keys {', '.join(sorted(wanted))}, not {', '.join(sorted(values))}"
            )
        return cls(**values)


TEMPLATES: dict[str, AlignmentTemplate] = {
    template.name: template
    for template in (
        # Medians of MTCNN's landmarks on FER+ training faces: benchmarks/framing/template.json.
        AlignmentTemplate(
            "ferplus-48-v1", 48, ((14.78, 18.34), (32.79, 17.98), (23.76, 28.50), (16.47, 37.39), (31.35, 37.14))
        ),
        # The square template of face.evoLVe's alignment code, equal to ArcFace's to rounding; the paper's crops.
        AlignmentTemplate(
            "arcface-112",
            112,
            (
                (38.29459953, 51.69630051),
                (73.53179932, 51.50139999),
                (56.02519989, 71.73660278),
                (41.54930115, 92.3655014),
                (70.72990036, 92.20410156),
            ),
        ),
    )
}


def similarity(source: npt.ArrayLike, target: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The rotation, scale and shift that moves points `source` [5, 2] closest to `target` [5, 2]: float64 [2, 3].

    Least squares over the four parameters of [[a, -b, x], [b, a, y]]. The determinant a² + b² cannot be negative, so
    strongly turned faces never come out mirrored, as they can from face.evoLVe's code, which aligned the paper's data.

    Raises AlignmentError where no such map makes sense: points that are not finite, all equal, mirrored or in
    disorder.
    """
    p, q = _points(source), _points(target)
    p_mean, q_mean = p.mean(0), q.mean(0)
    p, q = p - p_mean, q - q_mean
    if _is_one_point(p, p_mean) or _is_one_point(q, q_mean):
        raise AlignmentError("the landmarks all lie on one point, so the face cannot be aligned; detect it again")
    a, b = _covariance(p, q)
    spread = float((p * p).sum())
    mirrored = np.hypot(*_covariance(p * (-1, 1), q))
    if np.hypot(a, b) <= max(mirrored / _MIRRORED, 1e-6 * np.sqrt(spread * (q * q).sum())):
        raise AlignmentError("the landmarks are mirrored or in disorder; give them in the order image-left eye first")
    a, b = a / spread, b / spread
    linear = np.array([[a, -b], [b, a]])
    return np.column_stack([linear, q_mean - linear @ p_mean])


def align(
    picture: npt.NDArray[np.uint8], landmarks: npt.ArrayLike, template: AlignmentTemplate, size: int | None = None
) -> npt.NDArray[np.uint8]:
    """The face of `picture` uint8 [H, W, 3] with `landmarks` [5, 2], warped to the template: uint8 [S, S, 3].

    `size` S defaults to the template's own. Where the face shrinks, every output pixel is the mean of the area it
    covers, as in the shrunk web photographs that the networks were trained on; where it grows, bilinear. Beyond the
    picture its border is replicated.

    Raises AlignmentError for landmarks that are degenerate or not finite.
    """
    size = template.size if size is None else size
    target = (np.asarray(template.points) + 0.5) * (size / template.size) - 0.5
    matrix = similarity(landmarks, target)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    samples = int(np.clip(np.ceil(1 / scale), 1, _MAX_SUPERSAMPLING))
    # A finer grid of the same square: pixel centres move by (samples - 1) / 2.
    matrix = matrix * samples
    matrix[:, 2] += (samples - 1) / 2
    side = size * samples
    region, origin = _covered_region(picture, matrix, side)
    matrix[:, 2] += matrix[:, :2] @ origin
    fine = cv2.warpAffine(region, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if samples > 1:
        fine = cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(fine, dtype=np.uint8)


def resize_face(picture: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """A whole picture uint8 [H, W, 3] or [H, W] that already is a face, resized to uint8 [S, S, 3] or [S, S].

    Antialiased bilinear; a picture of the right size is returned unchanged, pixel for pixel. Sides of different
    lengths are stretched to a square, as the dataset loaders of the field do.
    """
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR))


def _is_one_point(centred: npt.NDArray[np.float64], mean: npt.NDArray[np.float64]) -> bool:
    # Spread of a millionth of a pixel is rounding, not a face.
    return float((centred * centred).sum()) < 1e-12 * max(1.0, float((mean * mean).sum()))


def _covariance(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Of centred points [5, 2]: the similarity [[a, -b], [b, a]] that fits best, times the spread of `p`."""
    return float((p * q).sum()), float((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum())


def _points(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    points = np.asarray(values, dtype=np.float64)
    if points.shape != (5, 2):
        raise AlignmentError(f"a face has five landmarks [5, 2], not an array of shape {list(points.shape)}")
    if not (np.abs(points) < _FARTHEST).all():
        raise AlignmentError(
            f"the landmarks hold values that are not finite numbers or beyond {_FARTHEST:.0e} pixels; detect the face "
            f"again"
        )
    return points


def _covered_region(
    picture: npt.NDArray[np.uint8], matrix: npt.NDArray[np.float64], side: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """The part of `picture` that a `side` x `side` warp reads, and the x, y of its first pixel.

    OpenCV refuses pictures longer than 32,766 pixels; a face's surroundings are never that large. Replicating the
    part's border equals replicating the picture's, as the part ends only where the warp does not look or the picture
    ends.
    """
    corners = np.array([[-1, -1], [side, -1], [-1, side], [side, side]], dtype=np.float64)
    covered = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    height, width = picture.shape[:2]
    limit = np.array([width - 1, height - 1])
    first = np.clip(np.floor(covered.min(0)) - 1, 0, limit).astype(int)
    last = np.clip(np.ceil(covered.max(0)) + 1, 0, limit).astype(int)
    if (last - first).max() >= _MAX_SIDE:
        raise AlignmentError(
            f"the landmarks span a face wider than {_MAX_SIDE:,} pixels; shrink the picture before aligning it"
        )
    region = picture[first[1] : last[1] + 1, first[0] : last[0] + 1]
    return region, first.astype(np.float64)
