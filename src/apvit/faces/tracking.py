"""Who is who over time: faces of successive pictures joined into tracks, by overlap and position alone.

Nothing here looks at what a face looks like: a person who leaves and comes back later is a new track.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from apvit.faces.detection import Detection

Box: TypeAlias = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""

Follow: TypeAlias = Callable[[list[Box]], list[Detection | None]]
"""The faces' last boxes in, where each is now out (None: no longer there)."""

BRIDGE = 1.0
"""Seconds that a track outlives its face: one that is found again within them keeps its id."""

SAME = 0.4
"""Two tracks whose boxes have this intersection over union follow the same face."""

_LEAST_REACH, _MOST_REACH = 0.5, 1.5  # sides of the face that its centre may have moved, at once and after a second
_LEAST_SIDES = 0.5  # a face does not halve its size between two looks
_DECIMALS = 3  # what tables hold of a box, so that a track read from one goes on exactly as it would have


@runtime_checkable
class Follower(Protocol):
    """A detector that can look for a face near where it was, which is far cheaper than a search."""

    def follow(self, picture: npt.NDArray[np.uint8], boxes: Sequence[Box]) -> list[Detection | None]:
        """The face near each of the boxes in `picture` uint8 [H, W, 3] RGB, or None."""
        ...


@dataclass(frozen=True, eq=False)
class Tracked:
    """A face of one picture: the number of its track, and whether it was found by detection or by following."""

    track: int
    detection: Detection
    detected: bool


@dataclass(frozen=True)
class _Track:
    number: int
    box: Box
    seen: float
    detected: float


class Tracker:
    """Gives the faces of successive pictures track numbers, from 1 and never twice.

    bridge: seconds that a face may be gone and keep its number, and that one may be followed without being detected
    limit: of more faces in a picture only the largest so many are tracked (None: all)

    The order of detections makes no difference.
    """

    def __init__(self, *, bridge: float = BRIDGE, limit: int | None = None) -> None:
        self.bridge, self.limit = bridge, limit
        self._tracks: list[_Track] = []
        self._next = 1
        self._last = -math.inf

    def step(
        self,
        time: float,
        detections: Sequence[Detection] | None = None,
        follow: Follow | None = None,
        elsewhere: Collection[int] = (),
    ) -> list[Tracked]:
        """The faces of the picture at `time` (seconds, later than the last), by track number.

        detections: what a search of the picture found, or None where it was not searched. `follow` finds the faces of
        the last picture that the detections do not account for; without it they are gone from this one. The tracks
        `elsewhere` cannot be in this picture, which shows another scene than where they were.
        """
        self._tracks = [track for track in self._tracks if self._last - track.seen <= self.bridge]
        found: list[tuple[_Track | None, Detection, bool]] = []
        here = [track for track in self._tracks if track.number not in elsewhere]
        free = list(here)
        if detections is not None:
            joined = associate([(track.box, time - track.seen) for track in here], [face.box for face in detections])
            for index, face in enumerate(detections):
                track = here[joined[index]] if index in joined else None
                found.append((track, face, True))
                if track is not None:
                    free.remove(track)
        # Only searching tells a face from something that merely goes on looking like one.
        free = [t for t in free if t.seen == self._last and time - t.detected <= self.bridge]
        if follow is not None and free:
            for track, moved in zip(free, follow([track.box for track in free]), strict=True):
                if moved is not None and all(overlap(moved.box, other.box) < SAME for _, other, _ in found):
                    found.append((track, moved, False))
        found.sort(key=lambda item: (-_area(item[1].box), item[1].box))
        faces = []
        for known, face, detected in found[: self.limit]:
            number = self._next if known is None else known.number
            self._next = max(self._next, number + 1)
            faces.append(Tracked(number, face, detected))
        self._note(time, faces)
        return sorted(faces, key=lambda face: face.track)

    @property
    def alive(self) -> set[int]:
        """The numbers of the tracks that may go on."""
        return {track.number for track in self._tracks}

    def restore(self, time: float, faces: Sequence[Tracked]) -> None:
        """Take what an earlier run's `step` gave at `time`; after all its pictures, `step` goes on as it would have."""
        self._tracks = [track for track in self._tracks if self._last - track.seen <= self.bridge]
        self._next = max(self._next, *(face.track + 1 for face in faces), 1)
        self._note(time, faces)

    def _note(self, time: float, faces: Sequence[Tracked]) -> None:
        known = {track.number: track for track in self._tracks}
        for face in faces:
            x1, y1, x2, y2 = (round(edge, _DECIMALS) for edge in face.detection.box)
            box = (x1, y1, x2, y2)
            if face.detected:
                known[face.track] = _Track(face.track, box, time, time)
            else:
                known[face.track] = replace(known[face.track], box=box, seen=time)
        self._tracks = sorted(known.values(), key=lambda track: track.number)
        self._last = time


def associate(tracks: Sequence[tuple[Box, float]], boxes: Sequence[Box]) -> dict[int, int]:
    """Which of `boxes` continues which of `tracks` (last box, seconds since): {index of the box: index of the track}.

    Pairs are joined best first by intersection over union less the distance of the centres in sides of the face. A
    face's centre may have moved half a side, and one side more per second up to one and a half in all; its side may not
    have halved or doubled.
    """
    pairs = []
    for i, (last, since) in enumerate(tracks):
        reach = min(_LEAST_REACH + since, _MOST_REACH)
        for j, box in enumerate(boxes):
            sides = math.sqrt(_area(last)), math.sqrt(_area(box))
            if min(sides) < _LEAST_SIDES * max(sides):
                continue
            distance = math.hypot(*(a - b for a, b in zip(_centre(last), _centre(box), strict=True)))
            distance /= (sides[0] + sides[1]) / 2
            if distance <= reach:
                pairs.append((distance - overlap(last, box), i, box, j))
    joined: dict[int, int] = {}
    for _, i, _, j in sorted(pairs):
        if j not in joined and i not in joined.values():
            joined[j] = i
    return joined


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (_area(a) + _area(b) - both)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _centre(box: Box) -> tuple[float, float]:
    return ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
