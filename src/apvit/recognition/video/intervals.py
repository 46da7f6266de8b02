"""Intervals: from when to when each face showed the same expression, for programs that annotate videos."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from apvit.files import completing, is_special
from apvit.recognition.video.errors import VideoError
from apvit.recognition.video.results import VideoFrame
from apvit.recognition.video.summary import UNSURE, Summary, spans

DELIMITERS = {".csv": ",", ".tsv": "\t"}
TEXT_GRID = ".textgrid"
_SHORTEST = 0.001  # seconds of a gap that is one; files hold milliseconds
COLUMNS = ("source", "start", "end", "track", "expression")


@dataclass(frozen=True)
class Interval:
    """`track` shows the smoothed `expression` ("unsure" where it was left open) from `start` to `end`, in seconds."""

    source: str
    start: float
    end: float
    track: int
    expression: str


def intervals(frames: Iterable[VideoFrame], tracks: Collection[int]) -> list[Interval]:
    """The intervals of these `tracks` of a table's frames, by start and track; none spans frames without the face."""
    done: list[Interval] = []
    now: dict[int, Interval] = {}
    for frame, until in spans(frames):
        for face in frame.tracks:
            if face.track not in tracks:
                continue
            start, name, before = frame.time, face.expression or UNSURE, now.get(face.track)
            if before is not None:
                if before.expression == name and before.end >= frame.time:
                    start = before.start
                else:
                    done.append(before)
            now[face.track] = Interval(frame.source, start, until, face.track, name)
    return sorted([*done, *now.values()], key=lambda interval: (interval.start, interval.track))


def check_intervals(path: str | Path) -> None:
    """Raises VideoError for a name that a file of intervals cannot have."""
    if Path(path).suffix.lower() not in (*DELIMITERS, TEXT_GRID) and not is_special(path):
        raise VideoError(f"intervals must end in .csv, .tsv or .TextGrid, not {Path(path).name!r}")


def write_intervals(
    path: str | Path, videos: Sequence[tuple[Summary, Sequence[Interval]]], *, whole: bool = True
) -> None:
    """Write the intervals of videos: as a table with `COLUMNS` (.csv, .tsv), or those of one as a Praat TextGrid.

    A TextGrid has a tier for each track of the video's summary. A pipe or device without one of the suffixes gets CSV.
    `whole`: see `completing`. Raises VideoError for other suffixes.
    """
    check_intervals(path)
    if Path(path).suffix.lower() == TEXT_GRID:
        ((summary, found),) = videos
        text = _text_grid(summary, found)
    else:
        table = io.StringIO()
        writer = csv.writer(table, delimiter=DELIMITERS.get(Path(path).suffix.lower(), ","), lineterminator="\n")
        writer.writerow(COLUMNS)
        for _, found in videos:
            writer.writerows(
                (one.source, round(one.start, 3), round(one.end, 3), one.track, one.expression) for one in found
            )
        text = table.getvalue()
    with completing(path, whole=whole) as partial:
        partial.write_bytes(text.encode("utf-8", "backslashreplace"))


def _text_grid(summary: Summary, found: Sequence[Interval]) -> str:
    """Praat wants every tier filled from beginning to end, so the time without the face is an empty interval."""
    end = max(summary.end, 0.001)
    tiers: dict[str, int | None] = {f"face {track.track}": track.track for track in summary.tracks}
    tiers = tiers or {"no face": None}
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.3f}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for item, (name, track) in enumerate(tiers.items(), 1):
        filled = _filled([one for one in found if one.track == track], end)
        lines += [f"    item [{item}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        lines += ["        xmin = 0", f"        xmax = {end:.3f}", f"        intervals: size = {len(filled)}"]
        for number, (start, until, text) in enumerate(filled, 1):
            lines += [f"        intervals [{number}]:", f"            xmin = {start:.3f}"]
            lines += [f"            xmax = {until:.3f}", f'            text = "{text}"']
    return "\n".join(lines) + "\n"


def _filled(found: Sequence[Interval], end: float) -> list[tuple[float, float, str]]:
    """(start, end, text) without gaps from 0 to `end`."""
    filled: list[tuple[float, float, str]] = []
    last = 0.0
    for one in found:
        if one.start - last >= _SHORTEST:
            filled.append((last, one.start, ""))
            last = one.start
        filled.append((last, one.end, one.expression))
        last = one.end
    if end - last >= _SHORTEST:
        filled.append((last, end, ""))
    return filled
