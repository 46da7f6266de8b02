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

MIN_TRACK = 0.5
"""Seconds that a track must be seen to be shown: what appears for a frame or two is rarely a face."""

UNSURE = "unsure"
"""What the share of time is called in which the expression was left open."""

_ROUNDING = 1e-6


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
    """The tracks of a video by number; `frames` were looked at, from `start` to `end` (seconds).

    short: how many tracks are not among `tracks` because they were seen for less than `min_track` seconds
    """

    source: str | None
    start: float
    end: float
    frames: int
    expressions: tuple[str, ...]
    tracks: list[TrackSummary]
    min_track: float = 0.0
    short: int = 0

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers of the tracks."""
        return frozenset(track.track for track in self.tracks)

    def to_dict(self) -> dict[str, Any]:
        """What a JSON file holds."""
        tracks = [track.to_dict() for track in self.tracks]
        return {
            "source": self.source,
            "seconds": round(self.end - self.start, 3),
            "frames": self.frames,
            "tracks": tracks,
            "min_track": self.min_track,
            "short_tracks": self.short,
        }


def spans(frames: Iterable[VideoFrame]) -> Iterator[tuple[VideoFrame, float]]:
    """Each frame with the time until which it stands: the next frame's; the last stands as long as the one before."""
    before: VideoFrame | None = None
    length = 0.04  # of a video of one frame: that of 25 per second
    for frame in frames:
        if before is not None:
            until = min(frame.time, before.time + LONGEST)
            length = until - before.time
            yield before, until
        before = frame
    if before is not None:
        yield before, before.time + length


def summarise(frames: Iterable[VideoFrame], *, min_track: float = MIN_TRACK) -> Summary:
    """The summary of the frames of one video's table; memory grows with the tracks, not the frames.

    min_track: a track that was seen for fewer seconds is left out and counted, unless the whole video is shorter
    """
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
    least = min(min_track, end - start) - _ROUNDING
    shown = [tracks[number] for number in sorted(tracks) if tracks[number].seconds >= least]
    for track in shown:
        total = sum(track.share.values())
        ordered = sorted(track.share, key=lambda name: -track.share[name])
        track.share = {name: track.share[name] / total for name in ordered}
    return Summary(source, start, end, count, names, shown, min_track, len(tracks) - len(shown))


def write_summary(path: str | Path, summary: Summary | Sequence[Summary], *, whole: bool = True) -> None:
    """Write the summary of one video or of several, as CSV (a row per track) where `path` ends in .csv, else as JSON.

    JSON holds an object for one video, and a list of them for several. `whole`: see `completing`.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        text = _csv([summary] if isinstance(summary, Summary) else summary)
    else:
        record = summary.to_dict() if isinstance(summary, Summary) else [one.to_dict() for one in summary]
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    with completing(path, whole=whole) as partial:
        partial.write_bytes(text.encode("utf-8", "backslashreplace"))


def _csv(summaries: Sequence[Summary]) -> str:
    text = io.StringIO()
    plain = ("source", "track", "start", "end", "seconds", "frames", "main", "changes")
    names = next((summary.expressions for summary in summaries if summary.expressions), ())
    writer = csv.DictWriter(text, [*plain, *(f"share_{name}" for name in (*names, UNSURE))], lineterminator="\n")
    writer.writeheader()
    for summary in summaries:
        for track in summary.tracks:
            values = {"source": summary.source, **track.to_dict()}
            shares = {f"share_{name}": values["share"].get(name, 0.0) for name in (*names, UNSURE)}
            writer.writerow({**{name: values[name] for name in plain}, **shares})
    return text.getvalue()
