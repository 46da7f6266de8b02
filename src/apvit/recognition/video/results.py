"""What recognition says of a video: one frame, with its faces and the tracks that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from apvit.recognition.results import Face


@dataclass(frozen=True, eq=False)
class TrackedFace:
    """A face in one frame, and the smoothed probabilities of its track up to there.

    track: the number of its track, from 1; the same face keeps it from frame to frame
    face: the face as this frame alone shows it (its `probabilities` are the raw ones)
    detected: whether a detector searched and found it here; otherwise it was followed from the frame before
    smoothed: {expression: 0..1}, see `Smoother`
    expression, probability: the most probable by `smoothed`; the expression is None where the recognizer abstains
    """

    track: int
    face: Face
    detected: bool
    smoothed: dict[str, float]
    expression: str | None
    probability: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2 in pixels of the upright frame."""
        return self.face.box

    def to_dict(self) -> dict[str, Any]:
        """What JSON output holds: the fields of the face, its track, and under "smoothed" what is smoothed."""
        return {
            "track": self.track,
            "detected": self.detected,
            **self.face.to_dict(),
            "smoothed": {
                "expression": self.expression,
                "probability": round(self.probability, 6),
                "probabilities": {name: round(p, 6) for name, p in self.smoothed.items()},
            },
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrackedFace:
        """The inverse of `to_dict`, to its rounding. Raises KeyError, TypeError or ValueError for anything else."""
        smoothed = values["smoothed"]
        return cls(
            track=int(values["track"]),
            face=Face(
                box=values["box"],
                landmarks=values["landmarks"],
                detection_score=values["detection_score"],
                expression=values["expression"],
                probability=values["probability"],
                probabilities=values["probabilities"],
                embedding=values.get("embedding"),
            ),
            detected=bool(values["detected"]),
            smoothed={name: float(p) for name, p in smoothed["probabilities"].items()},
            expression=smoothed["expression"],
            probability=float(smoothed["probability"]),
        )


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One frame of a video.

    source: as it was named; index: its number in the video from 0, counting frames that were left out too
    time: seconds from the video's start, as a player shows it
    width, height: of the upright frame in pixels; tracks: its faces by track number, empty where there are none
    picture: [height, width, 3] uint8 RGB, upright; None where it was read from a table
    warning: one sentence where a face that a search found is not among `tracks`, since it could not be aligned
    """

    source: str
    index: int
    time: float
    width: int
    height: int
    tracks: list[TrackedFace]
    picture: npt.NDArray[np.uint8] | None = field(default=None, repr=False)
    warning: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """What one line of JSON output holds."""
        return {
            "source": self.source,
            "frame": self.index,
            "time": self.time,
            "width": self.width,
            "height": self.height,
            "faces": [face.to_dict() for face in self.tracks],
            "warning": self.warning,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VideoFrame:
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
        faces = [TrackedFace.from_dict(face) for face in values["faces"]]
        numbers = (values[name] for name in ("frame", "time", "width", "height"))
        index, time, width, height = numbers
        return cls(
            str(values["source"]), int(index), float(time), int(width), int(height), faces, None, values.get("warning")
        )
