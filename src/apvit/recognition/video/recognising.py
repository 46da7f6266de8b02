"""Frames of a video -> tracked faces with expressions: what is searched, what is followed, what shares a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from apvit.faces.tracking import Box, Follower, Tracked, Tracker
from apvit.recognition.video.ahead import ReadAhead
from apvit.recognition.video.clip import PATIENCE, Clip, ClipFrame, Scene, same_scene
from apvit.recognition.video.results import TrackedFace, VideoFrame
from apvit.recognition.video.sampling import Every, slot
from apvit.recognition.video.smoothing import DEFAULT_WINDOW, Smoother

if TYPE_CHECKING:
    from apvit.faces.detection import Detection
    from apvit.recognition.pipeline import Picture
    from apvit.recognition.recognizer import Recognizer

SEARCH = 0.2
"""Seconds between two searches for faces in a whole frame, for a detector that can follow them in between (MTCNN). A
new face is so found at most this much late."""

MEMORY = 24_000_000
"""Pixels of frames that are worked on together, and as many again read ahead (3 bytes each)."""

LIVE_WAITING = 4
"""Frames of a stream that may wait; more would only be late."""


@dataclass
class Progress:
    """What a run tells while it goes on: frames of a stream that were left out because it went on too fast."""

    skipped: int = 0


def recognise(
    recognizer: Recognizer,
    clip: Clip,
    every: Every,
    *,
    smooth: float = DEFAULT_WINDOW,
    done: Iterable[VideoFrame] = (),
    progress: Progress | None = None,
) -> Iterator[VideoFrame]:
    """The frames of `clip` that `every` takes, with their tracked faces, as they come.

    Where the detector can follow a face (MTCNN: its last net alone, over the box of the frame before), whole frames
    are searched once per `SEARCH` seconds and after cuts, and faces followed in between; any other detector searches
    every frame taken. Every face of every frame taken goes through the network, in batches across frames; `smooth` is
    the window of `Smoother` in seconds. `done`: frames of an earlier run, from its table, after which this one goes on.

    A live clip never waits: what comes too fast is left out (`progress.skipped`). Raises StoppedError, after its good
    frames, for a clip that ends early.
    """
    passes = _Passes(recognizer, clip.source, smooth)
    after = passes.restore(done)
    width, height = clip.size
    most = max(1, min(recognizer.batch_size, MEMORY // max(1, width * height)))
    waiting = LIVE_WAITING if clip.live else most
    ahead = ReadAhead(clip.frames(every, after), waiting, drop=clip.live)
    size = 1
    try:
        while frames := ahead.take(size):
            yield from passes.recognise(frames)
            if progress is not None:
                progress.skipped = ahead.dropped
            size = min(2 * size, most)  # growing from one, so that the first result comes soon
    finally:
        ahead.close(PATIENCE + 1)


class _Seen(NamedTuple):
    """A face of a frame: its track, where it is (None: the whole picture), whether a search found it, and its crop."""

    number: int
    detection: Detection | None
    detected: bool
    crop: Picture


class _Passes:
    """The state that goes from frame to frame."""

    def __init__(self, recognizer: Recognizer, source: str, smooth: float) -> None:
        self.recognizer, self.source = recognizer, source
        self.tracker = Tracker(limit=recognizer.max_faces)
        self.smoother = Smoother(smooth)
        detector = recognizer._detector
        self.follower = detector if isinstance(detector, Follower) else None
        self.before: float | None = None
        # In which scene each track was last seen (None: by an earlier run), and those that a cut has left behind.
        self.scenes: dict[int, Scene | None] = {}
        self.left: set[int] = set()

    def restore(self, done: Iterable[VideoFrame]) -> tuple[int, float] | None:
        """Go on after `done`: the number and time of its last frame, None where there is none."""
        last = None
        for frame in done:
            if self.recognizer._detector is not None:
                self.tracker.restore(frame.time, [_tracked(face) for face in frame.tracks])
            for face in frame.tracks:
                self.smoother.restore(face.track, frame.time, face.smoothed)
            self.smoother.keep(self.tracker.alive | {face.track for face in frame.tracks})
            last = (frame.index, frame.time)
            self.before = frame.time
        self.scenes = dict.fromkeys(self.tracker.alive)
        return last

    def recognise(self, frames: Sequence[ClipFrame]) -> Iterator[VideoFrame]:
        """The faces of each frame; those of all frames go through the network together."""
        recognizer = self.recognizer
        tracked = [self._track(frame) for frame in frames]
        outputs = iter(recognizer._classify([face.crop for faces, _ in tracked for face in faces]))
        for frame, (faces, warning) in zip(frames, tracked, strict=True):
            height, width = frame.picture.shape[:2]
            tracks = []
            for number, detection, detected, _ in faces:
                face = recognizer._face(frame.picture, detection, next(outputs))
                smoothed = self.smoother.step(number, frame.time, face.probabilities)
                best = max(smoothed, key=lambda name: smoothed[name])
                sure = smoothed[best] >= recognizer.min_probability
                tracks.append(TrackedFace(number, face, detected, smoothed, best if sure else None, smoothed[best]))
            yield VideoFrame(self.source, frame.index, frame.time, width, height, tracks, frame.picture, warning)
        self.smoother.keep(self.tracker.alive | {face.number for faces, _ in tracked for face in faces})

    def _is_searched(self, frame: ClipFrame) -> bool:
        """Whether the whole frame is searched for faces; asked once for each frame, in order."""
        before, self.before = self.before, frame.time
        if self.follower is None or before is None or frame.cut:
            return True
        return slot(frame.time, SEARCH) != slot(before, SEARCH)

    def _track(self, frame: ClipFrame) -> tuple[list[_Seen], str | None]:
        """The faces of a frame, and a warning where a search found some that cannot be framed."""
        recognizer = self.recognizer
        if recognizer._detector is None:
            framed, _ = recognizer._frame(frame.picture, [None])
            return [_Seen(1, None, True, crop) for _, crop in framed], None
        if frame.cut:
            self.left |= set(self.scenes)
        # Known by identity: what is followed and tracked is in another order than what was found.
        crops: dict[Detection | None, Picture] = {}
        found, warning = None, None
        if self._is_searched(frame):
            framed, warning = recognizer._frame(frame.picture, recognizer._detect(frame.picture))
            crops |= framed
            found = [face for face in crops if face is not None]
        faces = self.tracker.step(
            frame.time,
            found,
            None if self.follower is None else lambda boxes: self._follow(frame.picture, boxes, crops),
            {track for track in self.left if not same_scene(self.scenes[track], frame.scene)},
        )
        here = {face.track for face in faces}
        self.scenes |= dict.fromkeys(here, frame.scene)
        self.scenes = {track: self.scenes[track] for track in self.tracker.alive}
        self.left = (self.left - here) & set(self.scenes)
        return [_Seen(face.track, face.detection, face.detected, crops[face.detection]) for face in faces], warning

    def _follow(
        self, picture: Picture, boxes: list[Box], crops: dict[Detection | None, Picture]
    ) -> list[Detection | None]:
        """Where the faces of the last frame are now; their crops are added to `crops`. One that has none is gone."""
        assert self.follower is not None
        least = self.recognizer.min_face or 0
        found = self.follower.follow(picture, boxes)
        large = [face for face in found if face is not None and max(face.sides) >= least]
        crops |= self.recognizer._frame(picture, large)[0]
        return [face if face in crops else None for face in found]


def _tracked(face: TrackedFace) -> Tracked:
    from apvit.faces.detection import Detection

    landmarks = np.zeros((5, 2), np.float32) if face.face.landmarks is None else face.face.landmarks
    return Tracked(face.track, Detection(face.box, face.face.detection_score or 0.0, landmarks), face.detected)
