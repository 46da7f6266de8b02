"""What is made from the table of a video: the files that were asked for, and lines for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from apvit.cli.messages import Messages
from apvit.files import counted, sentence
from apvit.recognition.video.errors import VideoError

if TYPE_CHECKING:
    from apvit.cli.recognize_video import VideoOptions
    from apvit.recognition.video.results import VideoFrame
    from apvit.recognition.video.summary import Summary

Errors: TypeAlias = dict[str, str]
"""Why what was asked for cannot be written, by its name in `VideoOptions.rendered`."""


def render_again(source: str, options: VideoOptions, form: str, output: str | None, messages: Messages) -> Errors:
    """Render from the table of an earlier run, and copy it where another format is asked for; what went wrong."""
    from apvit.recognition.video.table import open_table

    table = options.from_table
    assert table is not None
    frames = _frames(table, source)
    summary, errors = render(source, frames, options)
    if form == "table":
        print_summary(summary)
    else:
        copy = open_table(form, output, summary.expressions)
        for frame in frames():
            copy.write(frame)
        copy.close()
    files = [f"{name} in {path}" for name, path in options.rendered().items() if name not in errors]
    messages.say("; ".join([f"{counted(summary.frames, 'frame')} from {table}", *files]))
    return errors


def _frames(table: Path, source: str) -> Callable[[], Iterator[VideoFrame]]:
    """What reads the frames of `source` from a table, which may hold other videos. Raises VideoError."""
    from apvit.recognition.video.table import read_table

    sources = {frame.source for frame in read_table(table)}
    if not sources:
        raise VideoError(f"{table} holds no frame of a video; give the file of --output")
    if len(sources) == 1:  # which may have been moved since
        return lambda: read_table(table)
    if source not in sources:
        raise VideoError(f"{table} holds {len(sources):,} videos, but not {source}; name it as its column source does")
    return lambda: (frame for frame in read_table(table) if frame.source == source)


def render(
    source: str,
    frames: Callable[[], Iterable[VideoFrame]],
    options: VideoOptions,
    *,
    until: float | None = None,
    whole: bool = True,
) -> tuple[Summary, Errors]:
    """Make what was asked for from the table, which `frames` reads anew each time; the summary, and what went wrong.

    until: where the table ends (seconds), if before the video does; whole: whether the files get their names
    """
    from apvit.recognition.video.annotated import annotate_video
    from apvit.recognition.video.intervals import intervals, write_intervals
    from apvit.recognition.video.subtitles import write_subtitles
    from apvit.recognition.video.summary import summarise, write_summary
    from apvit.recognition.video.timeline import write_timeline

    summary = summarise(frames(), min_track=options.min_track_or_default)
    numbered = len(summary.tracks) + summary.short > 1
    writers: dict[str, Callable[[Path], None]] = {
        "summary": lambda path: write_summary(path, summary, whole=whole),
        "intervals": lambda path: write_intervals(path, [(summary, intervals(frames(), summary.numbers))], whole=whole),
        "subtitles": lambda path: write_subtitles(path, frames(), summary.numbers, whole=whole),
        "timeline": lambda path: write_timeline(path, frames, summary, whole=whole),
        "video": lambda path: annotate_video(source, frames(), path, numbered=numbered, until=until, whole=whole),
    }
    errors: Errors = {}
    for name, path in options.rendered().items():
        try:
            writers[name](path)
        except (VideoError, OSError) as error:
            errors[name] = f"the {name} cannot be written: {sentence(error)}"
    return summary, errors


def print_summary(summary: Summary, *, heading: bool = False) -> None:
    """The table for people on standard output: a line per track. heading: above them, the name of the video."""
    from rich.console import Console
    from rich.text import Text

    from apvit.recognition.sinks import printable

    console = Console(highlight=False, soft_wrap=True)
    if heading:
        console.print(Text(printable(str(summary.source)), "bold"))
    if not summary.tracks:
        nobody = f"no face was seen for {summary.min_track:g} s (--min-track)" if summary.short else "no face was found"
        console.print(Text(nobody, "dim"))
        return
    console.print(Text(f"{'track':>5}  {'from':>9}  {'to':>9}  {'seen':>8}  {'changes':>7}  expressions", "bold"))
    for track in summary.tracks:
        shown = [(name, share) for name, share in track.share.items() if share >= 0.005][:3]
        console.print(
            Text(
                f"{track.track:>5}  {_clock(track.start):>9}  {_clock(track.end):>9}  {track.seconds:>6.1f} s  "
                f"{track.changes:>7}  "
            )
            + Text(", ".join(f"{name} {share:.0%}" for name, share in shown))
        )
    if summary.short:
        tracks = counted(summary.short, "track")
        console.print(Text(f"       and {tracks} seen for less than {summary.min_track:g} s (--min-track)", "dim"))
    sys.stdout.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"
