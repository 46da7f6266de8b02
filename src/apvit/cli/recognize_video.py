"""`apvit recognize clip.mp4`: the expressions in a video or stream, and what is rendered from their table."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from apvit.cli.recognize import _Messages
    from apvit.recognition import Recognizer
    from apvit.recognition.video.clip import Clip
    from apvit.recognition.video.journal import Journal
    from apvit.recognition.video.results import VideoFrame
    from apvit.recognition.video.summary import Summary


@dataclass(frozen=True)
class VideoOptions:
    """The options of `apvit recognize` that only a video has; a field's name is its option's."""

    every: str | None = None
    smooth: float | None = None
    summary: Path | None = None
    subtitles: Path | None = None
    timeline: Path | None = None
    save_video: Path | None = None
    from_table: Path | None = None

    def given(self) -> list[str]:
        """The options that were given, as they are written."""
        return [f"--{name.replace('_', '-')}" for name, value in vars(self).items() if value is not None]

    def rendered(self) -> dict[str, Path]:
        """The files to be rendered from the table, by what they are."""
        files = {"summary": self.summary, "subtitles": self.subtitles, "timeline": self.timeline}
        return {name: path for name, path in (files | {"video": self.save_video}).items() if path is not None}


def recognize_video(
    inputs: list[str],
    options: VideoOptions,
    *,
    form: str,
    output: str | None,
    weights: str,
    recognizer_options: Mapping[str, Any],
    messages: _Messages,
) -> None:
    """Do it; exits with 1 for a video that ended early, 130 after Ctrl-C. Results so far are kept in both cases."""
    source = inputs[0]
    _check(inputs, options, output, with_embeddings=bool(recognizer_options["embeddings"]))
    if options.from_table is not None:
        _render_again(source, options, form, output, messages)
        return
    from apvit.recognition import Recognizer
    from apvit.recognition.video.clip import Clip
    from apvit.recognition.video.errors import VideoError
    from apvit.recognition.video.journal import Journal

    with ExitStack() as stack:
        clip = stack.enter_context(Clip(source))
        if clip.live and options.save_video is not None:
            raise VideoError(f"{source} cannot be read a second time for --save-video; record it, then annotate that")
        recognizer = Recognizer(weights, **recognizer_options)
        run = _Run(clip, recognizer, options, messages)
        if output is not None or form == "table" or options.rendered():
            place = output or str(Path(stack.enter_context(TemporaryDirectory(prefix="apvit-"))) / "table")
            settings = _settings(clip, options, weights, recognizer_options, recognizer.card.to_json())
            run.journal = Journal(
                place,
                "jsonl" if output is None else form,
                recognizer.expressions,
                settings,
                embeddings=bool(recognizer_options["embeddings"]) and output is not None,
            )
        if output is None and form != "table":
            run.stream = form
        run.recognise()
        if run.journal is not None and run.frames:
            whole = clip.live or not (run.interrupted or run.may_go_on)
            last = run.render(whole=whole)
            if form == "table":
                _print_summary(last)
            elif output is not None and not whole:
                messages.say(f"what is done is in {output}; the same command goes on from there")
        messages.say(run.closing_line(output))
        if run.interrupted:
            raise typer.Exit(130)
        if run.error is not None:
            messages.error(run.error)
            raise typer.Exit(1)


class _Run:
    """One pass over a clip: frames on their way to the journal and the stream, and what became of it."""

    def __init__(self, clip: Clip, recognizer: Recognizer, options: VideoOptions, messages: _Messages) -> None:
        from apvit.recognition.video.recognising import Progress
        from apvit.recognition.video.sampling import Every
        from apvit.recognition.video.smoothing import DEFAULT_WINDOW

        self.clip, self.recognizer, self.options, self.messages = clip, recognizer, options, messages
        self.every = Every.parse(options.every or "1")
        self.smooth = DEFAULT_WINDOW if options.smooth is None else options.smooth
        self.journal: Journal | None = None
        self.stream: str | None = None
        self.frames = self.faces = self.resumed = 0
        self.last = 0.0
        self.interrupted = self.may_go_on = False
        self.error: str | None = None
        self.progress = Progress()
        self.start = time.monotonic()

    def recognise(self) -> None:
        """Recognise until the end, Ctrl-C, or the clip's early end."""
        from apvit.cli.recognize import _uninterrupted
        from apvit.recognition.video.clip import is_stream
        from apvit.recognition.video.errors import StoppedError, VideoError
        from apvit.recognition.video.recognising import recognise
        from apvit.recognition.video.table import open_table

        if self.clip.duration is not None and self.clip.rate is not None:
            step = self.every.frames if self.every.frames is not None else self.clip.rate * (self.every.seconds or 0)
            self.messages.expect(round(self.clip.duration * self.clip.rate / max(1.0, step)))
        table = None if self.stream is None else open_table(self.stream, None, self.recognizer.expressions)
        try:
            for frame in recognise(
                self.recognizer,
                self.clip,
                self.every,
                smooth=self.smooth,
                done=self._done(),
                progress=self.progress,
            ):
                with _uninterrupted():
                    if self.journal is not None:
                        self.journal.write(frame)
                    if table is not None:
                        table.write(frame)
                    self._count(frame)
        except KeyboardInterrupt:
            self.interrupted = True
        except StoppedError as error:
            self.error = str(error)
            self.may_go_on = is_stream(self.clip.source)
        if not self.frames and self.journal is not None:
            self.journal.discard()
        if not self.frames and not self.interrupted:
            raise VideoError(self.error or f"no frame of {self.clip.source} can be decoded; convert it to H.264")

    def _done(self) -> Iterator[VideoFrame]:
        if self.journal is not None:
            for frame in self.journal.done():
                self.resumed += 1
                self._count(frame)
                yield frame
            if self.resumed:
                self.messages.say(f"going on after {self.resumed:,} frames of an earlier run, at {self.last:.1f} s")

    def _count(self, frame: VideoFrame) -> None:
        self.frames += 1
        self.faces += len(frame.tracks)
        self.last = frame.time
        self.messages.advance()

    def render(self, *, whole: bool) -> Summary:
        """Complete the table, and make from it what was asked for."""
        from apvit.cli.recognize import _uninterrupted
        from apvit.recognition.video.table import read_table

        assert self.journal is not None
        with _uninterrupted():
            self.journal.finish(whole=whole)
        table = self.journal.output
        until = None if whole and not self.interrupted else self.last
        return _render(self.clip.source, lambda: read_table(table), self.options, until=until)

    def closing_line(self, output: str | None) -> str:
        """What was done, in one line."""
        seconds = time.monotonic() - self.start
        new = self.frames - self.resumed
        parts = [f"{self.frames:,} frames", f"{self.faces:,} faces in them"]
        if self.progress.skipped:
            parts.append(f"{self.progress.skipped:,} skipped because they came faster than they could be looked at")
        if self.clip.broken:
            parts.append(f"{self.clip.broken:,} broken and left out")
        line = f"{', '.join(parts)}; {new / max(seconds, 1e-9):.1f} frames a second"
        files = [] if output is None or not self.frames else [f"results in {output}"]
        if self.frames:
            files += [f"{name} in {path}" for name, path in self.options.rendered().items()]
        return "; ".join([line, *files])


def _check(inputs: list[str], options: VideoOptions, output: str | None, *, with_embeddings: bool) -> None:
    """Raises typer.BadParameter for what cannot work, before anything is done."""
    from apvit.recognition.video.annotated import check_annotated
    from apvit.recognition.video.errors import VideoError
    from apvit.recognition.video.sampling import Every

    if len(inputs) > 1:
        raise typer.BadParameter("one video at a time, and no pictures with it: call once for each", param_hint="INPUT")
    try:
        Every.parse(options.every or "1")
    except VideoError as error:
        raise typer.BadParameter(str(error), param_hint="--every") from None
    if options.save_video is not None:
        try:
            check_annotated(options.save_video)
        except VideoError as error:
            raise typer.BadParameter(str(error), param_hint="--save-video") from None
    files = [*options.rendered().values(), *([] if output is None else [Path(output)])]
    for path in files:
        if not path.resolve().parent.is_dir():
            raise typer.BadParameter(f"the folder of {path} does not exist; make it first", param_hint="OUTPUT")
        if path.is_dir():
            raise typer.BadParameter(f"{path} is a folder; name a file", param_hint="OUTPUT")
    names = [Path(inputs[0]), *([] if options.from_table is None else [options.from_table]), *files]
    resolved = [path.resolve() for path in names]
    if twice := [str(name) for name, path in zip(names, resolved, strict=True) if resolved.count(path) > 1]:
        raise typer.BadParameter(f"{twice[0]} is named twice; results need files of their own", param_hint="OUTPUT")
    if with_embeddings and options.from_table is not None:
        raise typer.BadParameter("nothing is recognised with --from-table", param_hint="--embeddings")


def _render_again(source: str, options: VideoOptions, form: str, output: str | None, messages: _Messages) -> None:
    """Render from the table of an earlier run, and copy it where another format is asked for."""
    from apvit.recognition.video.table import open_table, read_table

    table = options.from_table
    assert table is not None
    summary = _render(source, lambda: read_table(table), options)
    if form == "table":
        _print_summary(summary)
    else:
        copy = open_table(form, output, summary.expressions)
        for frame in read_table(table):
            copy.write(frame)
        copy.close()
    files = [f"{name} in {path}" for name, path in options.rendered().items()]
    messages.say("; ".join([f"{summary.frames:,} frames from {table}", *files]))


def _render(
    source: str, frames: Callable[[], Iterable[VideoFrame]], options: VideoOptions, *, until: float | None = None
) -> Summary:
    """Make what was asked for from the table, which `frames` reads anew each time."""
    from apvit.recognition.video.annotated import annotate_video
    from apvit.recognition.video.subtitles import write_subtitles
    from apvit.recognition.video.summary import summarise, write_summary
    from apvit.recognition.video.timeline import write_timeline

    summary = summarise(frames())
    if options.summary is not None:
        write_summary(options.summary, summary)
    if options.subtitles is not None:
        write_subtitles(options.subtitles, frames())
    if options.timeline is not None:
        write_timeline(options.timeline, frames, summary)
    if options.save_video is not None:
        annotate_video(source, frames(), options.save_video, numbered=len(summary.tracks) > 1, until=until)
    return summary


def _settings(
    clip: Clip, options: VideoOptions, weights: str, recognizer_options: Mapping[str, Any], card: str
) -> dict[str, Any]:
    """What a table was made from and with: only with the same can an unfinished one be gone on with."""
    from apvit import __version__

    # A stream is never the same again.
    file: dict[str, Any] = {"source": clip.source, "opened": time.time()}
    path = Path(clip.source)
    if path.is_file():
        state = path.stat()
        file = {"source": str(path.resolve()), "size": state.st_size, "changed": state.st_mtime_ns}
    elif not clip.live:
        file = {"source": clip.source, "seconds": clip.duration}
    return {
        "apvit": __version__,
        "video": file,
        "every": options.every,
        "smooth": options.smooth,
        "weights": weights,
        "card": card,
        "options": dict(recognizer_options),
    }


def _print_summary(summary: Summary) -> None:
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
