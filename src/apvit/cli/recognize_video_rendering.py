"""What is made from the table of a video: the files that were asked for, and lines for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from apvit.cli.messages import Messages

if TYPE_CHECKING:
    from apvit.cli.recognize_video import VideoOptions
    from apvit.recognition.video.results import VideoFrame
    from apvit.recognition.video.summary import Summary


def render_again(source: str, options: VideoOptions, form: str, output: str | None, messages: Messages) -> None:
    """Render from the table of an earlier run, and copy it where another format is asked for."""
    from apvit.recognition.video.table import open_table, read_table

    table = options.from_table
    assert table is not None
    summary = render(source, lambda: read_table(table), options)
    if form == "table":
        print_summary(summary)
    else:
        copy = open_table(form, output, summary.expressions)
        for frame in read_table(table):
            copy.write(frame)
        copy.close()
    files = [f"{name} in {path}" for name, path in options.rendered().items()]
    messages.say("; ".join([f"{summary.frames:,} frames from {table}", *files]))


def render(
    source: str,
    frames: Callable[[], Iterable[VideoFrame]],
    options: VideoOptions,
    *,
    until: float | None = None,
    whole: bool = True,
) -> Summary:
    """Make what was asked for from the table, which `frames` reads anew each time.

    until: where the table ends (seconds), if before the video does; whole: whether the files get their names
    """
    from apvit.recognition.video.annotated import annotate_video
    from apvit.recognition.video.subtitles import write_subtitles
    from apvit.recognition.video.summary import summarise, write_summary
    from apvit.recognition.video.timeline import write_timeline

    summary = summarise(frames())
    if options.summary is not None:
        write_summary(options.summary, summary, whole=whole)
    if options.subtitles is not None:
        write_subtitles(options.subtitles, frames(), whole=whole)
    if options.timeline is not None:
        write_timeline(options.timeline, frames, summary, whole=whole)
    if options.save_video is not None:
        annotate_video(source, frames(), options.save_video, numbered=len(summary.tracks) > 1, until=until, whole=whole)
    return summary


def print_summary(summary: Summary) -> None:
    """The table for people on standard output: a line per track."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    if not summary.tracks:
        console.print(Text("no face was found", "dim"))
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
    sys.stdout.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"
