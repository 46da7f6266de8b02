"""What recognition returns: a face with its expression, and everything found in one picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, NotRequired

import numpy as np
import numpy.typing as npt
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from apvit.expressions import EXPRESSIONS
from apvit.files import unknown

SUM_TOLERANCE = 1e-3
"""How far the probabilities of one face may sum from 1: room for half-precision engines, none for mistakes."""


class FaceRecord(TypedDict):
    """A face as JSON; coordinates are pixels of the upright picture."""

    box: list[float]
    landmarks: list[list[float]] | None
    detection_score: float | None
    expression: str | None
    probability: float
    probabilities: dict[str, float]
    embedding: NotRequired[list[float]]


class Record(TypedDict):
    """What was found in a picture as JSON, or why it could not be used."""

    source: str
    width: int | None
    height: int | None
    faces: list[FaceRecord]
    error: str | None
    warning: str | None


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a picture. All coordinates are pixels of the upright picture, x to the right, y down.

    box: x1, y1, x2, y2 (finite, x1 < x2, y1 < y2); it may stick out of the picture
    landmarks: [5, 2] float32, x and y of the eye that is left in the picture, the right eye, the nose, the left and
        the right corner of the mouth; None where nothing was detected (detector "none")
    detection_score: the detector's 0..1, or None with detector "none"; how sure it is of a face, not of an expression
    expression: the most probable expression, or None where the recognizer abstained
    probability: the highest of the probabilities, 0..1
    probabilities: {expression: 0..1} in the label space's order; they sum to 1
    patches: [kept] int64, ascending ids of the patches that pooling kept (row-major on the aligned face), or None
    embedding: [D] float32, the class token after the final norm, when asked for

    Faces are equal when all their fields are. Raises ValueError for a field outside its range or shape.
    """

    box: tuple[float, float, float, float]
    landmarks: npt.NDArray[np.float32] | None
    detection_score: float | None
    expression: str | None
    probability: float
    probabilities: dict[str, float]
    patches: npt.NDArray[np.int64] | None = None
    embedding: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        box = tuple(float(v) for v in self.box)
        if len(box) != 4 or not all(map(math.isfinite, box)) or not (box[0] < box[2] and box[1] < box[3]):
            raise ValueError(f"box must be finite x1, y1, x2, y2 with x1 < x2 and y1 < y2, got {box}")
        object.__setattr__(self, "box", box)
        if self.landmarks is not None:
            object.__setattr__(self, "landmarks", _finite("landmarks", self.landmarks, np.float32, (5, 2)))
        if self.detection_score is not None:
            object.__setattr__(self, "detection_score", _fraction("detection_score", self.detection_score))
        self._check_probabilities()
        if self.patches is not None:
            patches = np.asarray(self.patches, dtype=np.int64)
            if patches.ndim != 1 or (patches < 0).any() or (np.diff(patches) <= 0).any():
                raise ValueError(f"patches must be [kept] ascending ids from 0, got shape {list(patches.shape)}")
            object.__setattr__(self, "patches", patches)
        if self.embedding is not None:
            object.__setattr__(self, "embedding", _finite("embedding", self.embedding, np.float32, (None,)))

    def _check_probabilities(self) -> None:
        if not self.probabilities:
            raise ValueError("probabilities must name at least one expression")
        for name in self.probabilities:
            if name not in EXPRESSIONS:
                raise ValueError(f"probabilities: {unknown('expression', name, EXPRESSIONS)}")
        probabilities = {name: _fraction(f"probability of {name}", p) for name, p in self.probabilities.items()}
        total = sum(probabilities.values())
        if abs(total - 1) > SUM_TOLERANCE:
            raise ValueError(f"probabilities must sum to 1, they sum to {total:.6f}")
        object.__setattr__(self, "probabilities", probabilities)
        highest = max(probabilities.values())
        if not abs(self.probability - highest) <= 1e-6:
            raise ValueError(f"probability {self.probability} is not the highest of the probabilities, {highest}")
        object.__setattr__(self, "probability", float(self.probability))
        if self.expression is not None and probabilities.get(self.expression) != highest:
            raise ValueError(f"expression {self.expression!r} is not the most probable one in {probabilities}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Face):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = None  # type: ignore[assignment]  # holds arrays and a dictionary

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    def to_dict(self) -> FaceRecord:
        """What JSON output holds, in DESIGN's order; pixels to 0.001, probabilities to 0.000001.

        The embedding is there only when it was asked for.
        """
        values: FaceRecord = {
            "box": [round(v, 3) for v in self.box],
            "landmarks": None if self.landmarks is None else [[round(float(v), 3) for v in p] for p in self.landmarks],
            "detection_score": None if self.detection_score is None else round(self.detection_score, 6),
            "expression": self.expression,
            "probability": round(self.probability, 6),
            "probabilities": {name: round(p, 6) for name, p in self.probabilities.items()},
        }
        if self.embedding is not None:
            values["embedding"] = [round(float(v), 6) for v in self.embedding]
        return values


@dataclass(frozen=True, eq=False)
class Recognition:
    """Everything found in one picture, or the error that reading it gave.

    source: as it was handed in; width, height: of the upright picture in pixels, None with an error
    faces: largest first; empty where there is none, and with an error
    picture: [height, width, 3] uint8 RGB, upright; None with an error
    warning: one sentence where a face that was found is not among `faces`, since it could not be aligned
    """

    source: Any
    width: int | None
    height: int | None
    faces: list[Face]
    error: Exception | None = None
    picture: npt.NDArray[np.uint8] | None = field(default=None, repr=False)
    warning: str | None = None

    @property
    def error_text(self) -> str | None:
        """The error in one line, or None."""
        return None if self.error is None else " ".join(str(self.error).split()) or type(self.error).__name__

    def to_dict(self) -> Record:
        """What one line of JSON output holds."""
        return {
            "source": str(self.source),
            "width": self.width,
            "height": self.height,
            "faces": [face.to_dict() for face in self.faces],
            "error": self.error_text,
            "warning": self.warning,
        }


def _fraction(name: str, value: float) -> float:
    number = float(value)
    # Float32 arithmetic may leave a probability a rounding step above 1.
    if not -1e-6 <= number <= 1 + 1e-6:
        raise ValueError(f"{name} must lie in 0..1, got {number}")
    return min(max(number, 0.0), 1.0)


def _finite(name: str, value: Any, dtype: Any, shape: tuple[int | None, ...]) -> npt.NDArray[Any]:
    array = np.asarray(value, dtype=dtype)
    if array.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        wanted = ", ".join("D" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have shape [{wanted}], got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite numbers")
    return array


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return a is not None and b is not None and np.array_equal(a, b)
    return bool(a == b)
