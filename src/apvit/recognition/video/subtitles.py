"""Subtitles: who shows which expression, in SubRip's format that every player reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from apvit.files import completing
from apvit.recognition.video.results import VideoFrame
from apvit.recognition.video.summary import UNSURE, spans


def write_subtitles(
    path: str | Path, frames: Iterable[VideoFrame], tracks: Collection[int], *, whole: bool = True
) -> None:
    """Write the subtitles (.srt) of these `tracks` of a table: a cue for as long as the smoothed expressions stay.

    One face is "happiness", several are a line each, "2: happiness" with the number of the track. The file appears
    complete or not at all (see `completing` for `whole`); memory does not grow with the video.
    """
    with (
        completing(path, whole=whole) as partial,
        partial.open("w", encoding="utf-8", newline="\n") as file,
    ):
        for number, (start, end, text) in enumerate(cues(frames, tracks), 1):
            file.write(f"{number}\n{timestamp(start)} --> {timestamp(end)}\n{text}\n\n")


def cues(frames: Iterable[VideoFrame], tracks: Collection[int]) -> Iterator[tuple[float, float, str]]:
    """(start, end, text) of each stretch, in seconds, in which the text stays the same; none where there is no face."""
    start, end, shown = 0.0, 0.0, ""
    for frame, until in spans(frames):
        text = _text(frame, tracks)
        if text != shown or frame.time > end:
            if shown:
                yield start, end, shown
            start, shown = frame.time, text
        end = until
    if shown:
        yield start, end, shown


def _text(frame: VideoFrame, tracks: Collection[int]) -> str:
    names = [(face.track, face.expression or UNSURE) for face in frame.tracks if face.track in tracks]
    if len(names) == 1:
        return names[0][1]
    return "\n".join(f"{track}: {name}" for track, name in names)


def timestamp(seconds: float) -> str:
    """SubRip's "00:01:02,345"."""
    total = round(seconds * 1000)
    minutes, rest = divmod(total, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d},{rest % 1000:03d}"
