"""`apvit recognize clip.mp4`: the expressions in a video or stream, and what is rendered from their table."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import typer

from apvit.cli.interruption import INTERRUPTED, uninterrupted
from apvit.cli.messages import Messages
from apvit.cli.options import check_outputs
from apvit.cli.recognize_video_rendering import Errors, print_summary, render, render_again
from apvit.cli.wording import in_options
from apvit.files import beside, counted, is_special, names_folder, partial_name

if TYPE_CHECKING:
    from apvit.recognition import Recognizer
    from apvit.recognition.video.clip import Clip
    from apvit.recognition.video.journal import Journal
    from apvit.recognition.video.results import VideoFrame
    from apvit.recognition.video.summary import Summary
    from apvit.recognition.video.table import FrameWriter


@dataclass(frozen=True)
class VideoOptions:
    """The options of `apvit recognize` that only a video has; a field's name is its option's."""

    every: str | None = None
    smooth: float | None = None
    min_track: float | None = None
    summary: Path | None = None
    intervals: str | None = None
    subtitles: str | None = None
    timeline: Path | None = None
    save_video: Path | None = None
    from_table: Path | None = None

    def rendered(self) -> dict[str, Path]:
        """The files to be rendered from the table, by what they are."""
        files: dict[str, str | Path | None] = {
            "summary": self.summary,
            "intervals": self.intervals,
            "subtitles": self.subtitles,
        }
        files |= {"timeline": self.timeline, "video": self.save_video}
        return {name: Path(path) for name, path in files.items() if path is not None}

    @property
    def min_track_or_default(self) -> float:
        """Seconds that a track must be seen to be shown."""
        from apvit.recognition.video.summary import MIN_TRACK

        return MIN_TRACK if self.min_track is None else self.min_track


def recognize_video(
    source: str,
    options: VideoOptions,
    *,
    form: str,
    output: str | None,
    weights: str,
    recognizer_options: Mapping[str, Any],
) -> None:
    """Do it; exits with 1 for a video that ended early, with 130 after Ctrl-C.

    Where more is to come, after Ctrl-C or in a stream that stopped, all files with what was done stay in their partial
    names; a truncated video and a live source hold no more than this, so theirs are complete.
    """
    _check(source, options, output, with_embeddings=bool(recognizer_options["embeddings"]))
    # On a terminal, lines that go by show the progress themselves.
    bar = sys.stderr.isatty() and (output is not None or form == "table" or not sys.stdout.isatty())
    with Messages(bar=bar, unit="frames") as messages:
        if options.from_table is not None:
            errors = render_again(source, options, form, output, messages)
            _stop_for(list(errors.values()), messages)
        else:
            _recognize(source, options, form, output, weights, recognizer_options, messages)


def _recognize(
    source: str,
    options: VideoOptions,
    form: str,
    output: str | None,
    weights: str,
    recognizer_options: Mapping[str, Any],
    messages: Messages,
) -> None:
    """Recognise what of the video is not done yet, and render what was asked for."""
    from apvit.recognition import Recognizer
    from apvit.recognition.video.clip import Clip
    from apvit.recognition.video.errors import VideoError
    from apvit.recognition.video.journal import Journal
    from apvit.recognition.video.table import open_table

    with ExitStack() as stack:
        clip = stack.enter_context(Clip(source))
        if clip.live and options.save_video is not None:
            raise VideoError(f"{source} cannot be read a second time for --save-video; record it, then annotate that")
        recognizer = Recognizer(weights, **recognizer_options)
        run = ClipRun(clip, recognizer, options, messages)
        streamed = form != "table" and (output is None or is_special(output))
        if not streamed or options.rendered():
            kept = None if streamed else output
            place = kept or str(Path(stack.enter_context(TemporaryDirectory(prefix="apvit-"))) / "table")
            settings = settings_of(clip, options, weights, recognizer_options, recognizer.card.to_json())
            run.journal = Journal(
                place,
                "jsonl" if kept is None else form,
                recognizer.expressions,
                settings,
                embeddings=bool(recognizer_options["embeddings"]) and kept is not None,
            )
        if streamed:
            run.stream = table = open_table(form, output, recognizer.expressions)
            stack.callback(table.close)
        run.recognise()
        errors: Errors = {}
        if run.journal is not None and run.frames:
            seen, errors = run.render()
            if form == "table":
                print_summary(seen)
            if errors and kept is None:
                messages.say(_rescue(run.table, options.rendered()[next(iter(errors))]))
        messages.say(run.closing_line(output, without=errors))
        if run.frames and output is not None and not (streamed or run.whole):
            messages.say(f"{output} is made when all is done: the same command goes on from there")
        if run.interrupted:
            raise typer.Exit(INTERRUPTED)
        _stop_for([*errors.values(), *([] if run.error is None else [run.error])], messages)


def _stop_for(errors: list[str], messages: Messages) -> None:
    for error in errors:
        messages.error(error)
    if errors:
        raise typer.Exit(1)


def _rescue(table: Path, missing: Path) -> str:
    """Keep the table that nobody asked for, since `missing` could not be made from it: where it is, in a line."""
    kept = beside(missing, ".table.jsonl")
    shutil.copyfile(table, kept)
    return f"what was recognized is kept in {kept}: --from-table {kept} makes the rest from it"


class ClipRun:
    """One pass over a clip: frames on their way to the journal and the stream, and what became of it."""

    def __init__(self, clip: Clip, recognizer: Recognizer, options: VideoOptions, messages: Messages) -> None:
        from apvit.recognition.video.recognising import Progress
        from apvit.recognition.video.sampling import Every
        from apvit.recognition.video.smoothing import DEFAULT_WINDOW

        self.clip, self.recognizer, self.options, self.messages = clip, recognizer, options, messages
        self.every = Every.parse(options.every or "1")
        self.smooth = DEFAULT_WINDOW if options.smooth is None else options.smooth
        self.journal: Journal | None = None
        self.table = Path()
        self.stream: FrameWriter | None = None
        self.frames = self.faces = self.resumed = self.incomplete = 0
        self.last = 0.0
        self.interrupted = self.may_go_on = False
        self.error: str | None = None
        self.progress = Progress()
        self.start = time.monotonic()

    def recognise(self) -> None:
        """Recognise until the end, Ctrl-C, or the clip's early end."""
        from apvit.recognition.video.clip import is_stream
        from apvit.recognition.video.errors import StoppedError, VideoError
        from apvit.recognition.video.recognising import recognise

        if self.clip.duration is not None and self.clip.rate is not None:
            step = self.every.frames if self.every.frames is not None else self.clip.rate * (self.every.seconds or 0)
            self.messages.expect(round(self.clip.duration * self.clip.rate / max(1.0, step)))
        try:
            for frame in recognise(
                self.recognizer,
                self.clip,
                self.every,
                smooth=self.smooth,
                done=self._done(),
                progress=self.progress,
            ):
                with uninterrupted():
                    if self.journal is not None:
                        self.journal.write(frame)
                    self.take(frame)
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
                self.take(frame)
                yield frame
            if self.resumed:
                self.messages.say(
                    f"going on after {counted(self.resumed, 'frame')} of an earlier run, at {self.last:.1f} s"
                )

    def take(self, frame: VideoFrame) -> None:
        """Count a frame, and hand it on."""
        if self.stream is not None:
            self.stream.write(frame)
        self.frames += 1
        self.faces += len(frame.tracks)
        self.incomplete += frame.warning is not None
        self.last = frame.time
        self.messages.advance()

    @property
    def whole(self) -> bool:
        """Whether no more is to come: the same command would not go on, it would begin anew."""
        return self.clip.live or not (self.interrupted or self.may_go_on)

    def render(self) -> tuple[Summary, Errors]:
        """Complete the table, and make from it what was asked for; what went wrong."""
        from apvit.recognition.video.table import read_table

        assert self.journal is not None
        with uninterrupted():
            self.table = self.journal.finish(whole=self.whole)
        until = self.last if self.interrupted or not self.whole else None
        return render(self.clip.source, lambda: read_table(self.table), self.options, until=until, whole=self.whole)

    def counts(self) -> str:
        """What was done, in one line."""
        seconds = time.monotonic() - self.start
        new = self.frames - self.resumed
        parts = [f"{counted(self.frames, 'frame')} with {counted(self.faces, 'face')}"]
        if self.incomplete:
            parts.append(f"{self.incomplete:,} in which a face was left out (see `warning` in the results)")
        if self.progress.skipped:
            parts.append(f"{self.progress.skipped:,} skipped because they came faster than they could be looked at")
        if self.clip.broken:
            parts.append(f"{self.clip.broken:,} broken and left out")
        return f"{', '.join(parts)}; {new / max(seconds, 1e-9):.1f} frames a second"

    def closing_line(self, output: str | None, *, without: Collection[str] = ()) -> str:
        """What was done and where it is, in one line."""
        files = {} if output is None else {"results": Path(output)}
        files |= {name: path for name, path in self.options.rendered().items() if name not in without}
        places = [f"{name} in {path if self.whole else partial_name(path)}" for name, path in files.items()]
        return "; ".join([self.counts(), *(places if self.frames else ())])


def _check(source: str, options: VideoOptions, output: str | None, *, with_embeddings: bool) -> None:
    """Raises typer.BadParameter for what cannot work, before anything is done."""
    check_options(options)
    files = [*options.rendered().values(), *([] if output is None else [Path(output)])]
    rendered = {"video": "save-video"}
    check_outputs({f"--{rendered.get(name, name)}": path for name, path in options.rendered().items()})
    names = [Path(source), *([] if options.from_table is None else [options.from_table]), *files]
    resolved = [path.resolve() for path in names]
    if twice := [str(name) for name, path in zip(names, resolved, strict=True) if resolved.count(path) > 1]:
        raise typer.BadParameter(f"{twice[0]} is named twice; results need files of their own", param_hint="OUTPUT")
    if with_embeddings and options.from_table is not None:
        raise typer.BadParameter("nothing is recognised with --from-table", param_hint="--embeddings")


def check_options(options: VideoOptions) -> None:
    """Raises typer.BadParameter for options that cannot work with any video."""
    from apvit.recognition.video.sampling import Every

    with _refusing("--every"):
        Every.parse(options.every or "1")
    # Each check is imported with what it checks: a picture has no use for it.
    if options.save_video is not None:
        from apvit.recognition.video.annotated import check_annotated

        with _refusing("--save-video"):
            check_annotated(options.save_video)
    if options.intervals is not None and not names_folder(options.intervals):
        from apvit.recognition.video.intervals import check_intervals

        with _refusing("--intervals"):
            check_intervals(options.intervals)
    if options.timeline is not None:
        from apvit.recognition.video.timeline import check_timeline

        with _refusing("--timeline"):
            check_timeline()


@contextmanager
def _refusing(option: str) -> Iterator[None]:
    from apvit.recognition.video.errors import VideoError

    try:
        yield
    except VideoError as error:
        raise typer.BadParameter(in_options(str(error)), param_hint=option) from None


def settings_of(
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
