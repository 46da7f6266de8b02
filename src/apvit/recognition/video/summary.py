"""A video in a few figures per track: how long it was seen, with which expressions, and how often they changed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apvit.files import completing
from apvit.recognition.video.results import VideoFrame

LONGEST = 10.0
"""Seconds that one frame can stand for: after a longer pause (a stream that stood still) nobody knows."""

UNSURE = "unsure"
"""What the share of time is called in which the expression was left open."""


@dataclass
class TrackSummary:
    """One track: `start` and `end` in seconds of the video, `seconds` seen in between, in so many `frames`.

    share: {expression: part of `seconds`}, by the smoothed probabilities; with "unsure" the parts sum to 1
    changes: how often the expression was another than in the frame before in which the track was seen
    """

    track: int
    start: float
    end: float
    seconds: float = 0.0
    frames: int = 0
    changes: int = 0
    share: dict[str, float] = field(default_factory=dict)
    last: str | None = field(default=None, repr=False)

    @property
    def main(self) -> str:
        """The expression with the largest share."""
        return max(self.share, key=lambda name: self.share[name])

    def to_dict(self) -> dict[str, Any]:
        """What files hold; seconds to 0.001, shares to 0.0001."""
        return {
            "track": self.track,
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "seconds": round(self.seconds, 3),
            "frames": self.frames,
            "main": self.main,
            "changes": self.changes,
            "share": {name: round(part, 4) for name, part in self.share.items()},
        }


@dataclass
class Summary:
    """All tracks of a video by number; `frames` were looked at, from `start` to `end` (seconds)."""

    source: str | None
    start: float
    end: float
    frames: int
    expressions: tuple[str, ...]
    tracks: list[TrackSummary]

    def to_dict(self) -> dict[str, Any]:
        """What a JSON file holds."""
        tracks = [track.to_dict() for track in self.tracks]
        return {"source": self.source, "seconds": round(self.end - self.start, 3), "frames": self.frames} | {
            "tracks": tracks
        }


def spans(frames: Iterable[VideoFrame]) -> Iterator[tuple[VideoFrame, float]]:
    """Each frame with the time until which it stands: the next frame's; the last stands as long as the one before."""
    before: VideoFrame | None = None
    length = 0.04  # of a video of one frame: that of 25 per second
    for frame in frames:
        if before is not None:
            length = min(frame.time - before.time, LONGEST)
            yield before, before.time + length
        before = frame
    if before is not None:
        yield before, before.time + length


def summarise(frames: Iterable[VideoFrame]) -> Summary:
    """The summary of a table's frames; memory grows with the tracks, not the frames."""
    tracks: dict[int, TrackSummary] = {}
    source, start, end, count = None, 0.0, 0.0, 0
    names: tuple[str, ...] = ()
    for frame, until in spans(frames):
        if count == 0:
            source, start = frame.source, frame.time
        count, end = count + 1, until
        for face in frame.tracks:
            names = names or tuple(face.smoothed)
            track = tracks.setdefault(face.track, TrackSummary(face.track, frame.time, until))
            name = face.expression or UNSURE
            track.changes += track.last not in (None, name)
            track.last = name
            track.frames += 1
            track.end = until
            track.seconds += until - frame.time
            track.share[name] = track.share.get(name, 0.0) + until - frame.time
    for track in tracks.values():
        total = sum(track.share.values())
        ordered = sorted(track.share, key=lambda name: -track.share[name])
        track.share = {name: track.share[name] / total for name in ordered}
    return Summary(source, start, end, count, names, [tracks[number] for number in sorted(tracks)])


def write_summary(path: str | Path, summary: Summary, *, whole: bool = True) -> None:
    """Write the summary as CSV (a row per track) where `path` ends in .csv, else as JSON; `whole`: see `completing`."""
    path = Path(path)
    if path.suffix.lower() == ".csv":
        text = _csv(summary.tracks, (*summary.expressions, UNSURE))
    else:
        text = json.dumps(summary.to_dict(), indent=1, ensure_ascii=False) + "\n"
    with completing(path, whole=whole) as partial:
        partial.write_bytes(text.encode("utf-8", "backslashreplace"))


def _csv(tracks: Sequence[TrackSummary], names: Sequence[str]) -> str:
    text = io.StringIO()
    plain = ("track", "start", "end", "seconds", "frames", "main", "changes")
    writer = csv.DictWriter(text, [*plain, *(f"share_{name}" for name in names)], lineterminator="\n")
    writer.writeheader()
    for track in tracks:
        values = track.to_dict()
        shares = {f"share_{name}": values["share"].get(name, 0.0) for name in names}
        writer.writerow({**{name: values[name] for name in plain}, **shares})
    return text.getvalue()
