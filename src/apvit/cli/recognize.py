"""`apvit recognize`: the expression of every face in pictures."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from apvit.recognition import Recognizer
    from apvit.recognition.results import Recognition
    from apvit.recognition.sinks import Sink

FACES, RESULTS, NETWORK, VIDEOS, ARCHIVES = "Which faces", "Results", "Network", "Videos", "Archives"


def recognize(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help='Pictures, folders (searched with their subfolders), quoted patterns ("photos/**/*.jpg"), '
            "or - for a list on standard input, one per line. Or one video: a file, webcam:0, or the URL of a stream.",
            show_default=False,
        ),
    ],
    detector: Annotated[
        Literal["mtcnn", "yunet", "none"],
        typer.Option(help="Who finds the faces; none: every picture already is one face.", rich_help_panel=FACES),
    ] = "mtcnn",
    detector_model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YuNet's model file; else from the cache or the hub.", rich_help_panel=FACES),
    ] = None,
    min_face: Annotated[
        float | None,
        typer.Option(metavar="PX", help="Smallest face to look for, in pixels.", rich_help_panel=FACES),
    ] = None,
    min_detection: Annotated[
        float | None,
        typer.Option(
            metavar="SCORE", min=0, max=1, help="Lowest detection score that counts as a face.", rich_help_panel=FACES
        ),
    ] = None,
    max_faces: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Only the N largest faces of a picture.", rich_help_panel=FACES),
    ] = None,
    min_probability: Annotated[
        float,
        typer.Option(
            metavar="P",
            min=0,
            max=1,
            help="Leave faces unsure whose top probability is lower; the coverage curve in the weights' card tells how "
            "many these are and how often the rest is right (apvit models --format json).",
            rich_help_panel=RESULTS,
        ),
    ] = 0.0,
    form: Annotated[
        Literal["table", "jsonl", "csv", "parquet"],
        typer.Option(
            "--format", help="A table to read, or one object per picture, or one row per face.", rich_help_panel=RESULTS
        ),
    ] = "table",
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File for the results, instead of the terminal.",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    embeddings: Annotated[
        bool,
        typer.Option(
            "--embeddings", metavar="", help="Add each face's embedding (jsonl, parquet).", rich_help_panel=RESULTS
        ),
    ] = False,
    save_dir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder for annotated copies of the pictures.", rich_help_panel=RESULTS),
    ] = None,
    show_pooling: Annotated[
        bool,
        typer.Option(
            "--show-pooling",
            metavar="",
            help="In annotated pictures, shade the patches that the network dropped.",
            rich_help_panel=RESULTS,
        ),
    ] = False,
    weights: Annotated[
        str,
        typer.Option(
            metavar="W", help="A bundled name (apvit models), a file, or hf://owner/repo.", rich_help_panel=NETWORK
        ),
    ] = "apvit_tiny",
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="KEEP",
            help="Compute dial: share of patches that pooling keeps (0.8), and if wanted of tokens after each block "
            "(0.8:1,1,.9,.9).",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="What runs the network.", rich_help_panel=NETWORK)
    ] = "auto",
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 ...", rich_help_panel=NETWORK)
    ] = "auto",
    batch_size: Annotated[
        int, typer.Option(metavar="N", min=1, help="Most faces per pass through the network.", rich_help_panel=NETWORK)
    ] = 16,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Pictures worked on at a time; else one per core, up to 8. With --ray: processes of one core each; "
            "else as many as the cluster has cores.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile", metavar="", help="At the end, a table of where the time went.", rich_help_panel=RESULTS
        ),
    ] = False,
    every: Annotated[
        str | None,
        typer.Option(
            metavar="N|Ts", help="Look at every Nth frame (5), or at one per T seconds (0.2s).", rich_help_panel=VIDEOS
        ),
    ] = None,
    smooth: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="Window of the smoothed probabilities; 0: none. The raw ones are kept too. Default: 0.5.",
            rich_help_panel=VIDEOS,
        ),
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Share of time per expression and changes of each face, as .json or .csv.",
            rich_help_panel=VIDEOS,
        ),
    ] = None,
    subtitles: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Expressions as subtitles (.srt).", rich_help_panel=VIDEOS)
    ] = None,
    timeline: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Picture of all expressions over time (.png).", rich_help_panel=VIDEOS),
    ] = None,
    save_video: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Annotated copy with the sound (.mp4, .mov, .mkv).", rich_help_panel=VIDEOS),
    ] = None,
    from_table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Recognise nothing: render from this --output of an earlier run.",
            rich_help_panel=VIDEOS,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Work as a job of many pictures, in a pool of workers on this machine (local) or on a Ray cluster "
            "(auto, or its address). INPUTs are folders, Parquet files, .txt lists of paths or URIs, local or s3://; "
            "--output is a folder of Parquet files. Start again to go on.",
            rich_help_panel=ARCHIVES,
        ),
    ] = None,
    shard_size: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="With --ray: pictures per file of results.", rich_help_panel=ARCHIVES),
    ] = 1000,
) -> None:
    """Name the expression of every face in pictures, or in a video.

    A picture that cannot be read is reported and passed over; the exit status is then 1.
    """
    from apvit.cli.recognize_video import VideoOptions, recognize_video
    from apvit.recognition.sinks import SinkError, check_output, open_sink
    from apvit.recognition.sources import expand_sources
    from apvit.recognition.video.clip import is_video

    options: dict[str, Any] = {
        "detector": detector,
        "engine": engine,
        "device": device,
        "min_face": min_face,
        "min_detection": min_detection,
        "max_faces": max_faces,
        "min_probability": min_probability,
        "batch_size": batch_size,
        "embeddings": embeddings,
        "detector_model": None if detector_model is None else str(detector_model.absolute()),
        "keep": keep,
    }
    video = VideoOptions(every, smooth, summary, subtitles, timeline, save_video, from_table)
    if ray is not None:
        from apvit.cli.recognize_archive import check_archive_options, recognize_archive

        given = {"--save-dir": save_dir is not None, "--show-pooling": show_pooling, "--profile": profile}
        unusable = [*(name for name, used in given.items() if used), *video.given()]
        folder = check_archive_options(inputs, output, form, unusable)
        with _Messages(bar=sys.stderr.isatty()) as messages:
            recognize_archive(
                inputs,
                folder,
                ray,
                messages=messages,
                workers=workers,
                shard_size=shard_size,
                weights=weights,
                options=options,
            )
        return

    try:
        check_output(form, output, embeddings=embeddings)
    except SinkError as error:
        raise typer.BadParameter(str(error), param_hint="--format") from None
    if any(is_video(name) for name in inputs):
        for name, value in (("--profile", profile), ("--workers", workers), ("--show-pooling", show_pooling)):
            if value:
                raise typer.BadParameter("this is for pictures, not for a video", param_hint=name)
        if save_dir is not None:
            raise typer.BadParameter(
                "this is for pictures; for a video take --save-video FILE", param_hint="--save-dir"
            )
        # On a terminal, lines that go by show the progress themselves.
        bar = sys.stderr.isatty() and (output is not None or form == "table" or not sys.stdout.isatty())
        with _Messages(bar=bar, unit="frames") as messages:
            recognize_video(
                inputs,
                video,
                form=form,
                output=output,
                weights=weights,
                recognizer_options=options,
                messages=messages,
            )
        return
    if of_video := video.given():
        raise typer.BadParameter(f"this is for videos, and {inputs[0]} is none", param_hint=of_video[0])
    if show_pooling and save_dir is None:
        raise typer.BadParameter("there is nothing to show it in; add --save-dir FOLDER", param_hint="--show-pooling")
    if save_dir is not None and save_dir.resolve() in {Path(name).resolve() for name in inputs}:
        raise typer.BadParameter("this folder is an input; choose another", param_hint="--save-dir")

    from apvit.recognition import Profile, Recognizer

    recognizer = Recognizer(weights, workers=workers, **options)
    save = None if save_dir is None else _annotator(recognizer, save_dir, show_pooling=show_pooling)

    run = _Run(lambda: open_sink(form, output, recognizer.expressions, embeddings=embeddings), save)
    # On a terminal the lines of results show the progress; a bar between them would only flicker.
    bar = sys.stderr.isatty() and not (output is None and sys.stdout.isatty())
    stages = Profile()
    with _Messages(bar=bar) as messages:
        if bar and "-" not in inputs:
            messages.expect(sum(1 for _ in expand_sources(inputs, skip=save_dir)))
        whole = False
        try:
            sources = expand_sources(inputs, skip=save_dir, warn=messages.warn)
            for found in recognizer.recognitions(sources, profile=stages):
                run.take(found)
                if found.error_text is not None and form != "table":
                    messages.error(found.error_text)
                if found.warning is not None:
                    messages.warn(f"{found.source}: {found.warning}")
                messages.advance()
            whole = True
        except KeyboardInterrupt:
            run.interrupted = True
        finally:
            run.finish(whole=whole)
            if whole or run.interrupted or output is not None:
                messages.say(run.summary(output, save_dir))
            if profile:
                for line in str(stages).splitlines():
                    messages.say(line)
    if run.interrupted:
        raise typer.Exit(130)
    if run.bad:
        raise typer.Exit(1)


class _Messages:
    """What is said on standard error: progress on a terminal, warnings, errors, the summary."""

    def __init__(self, *, bar: bool, unit: str = "pictures"):
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = _progress_bar(self._console, unit) if bar else None

    def __enter__(self) -> _Messages:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def expect(self, total: int) -> None:
        """How many pictures there will be."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], total=total)

    def advance(self, pictures: int = 1) -> None:
        """So many more pictures are done."""
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0], pictures)

    def warn(self, message: str) -> None:
        """Something the user may not have meant."""
        self._print("warning: ", "yellow", message)

    def error(self, message: str) -> None:
        """A picture that could not be used."""
        self._print("error: ", "red", message)

    def say(self, message: str) -> None:
        """What was done."""
        self._print("", "", message)

    def _print(self, start: str, style: str, message: str) -> None:
        from rich.text import Text

        from apvit.recognition.sinks import printable

        self._console.print(Text.assemble((start, style), printable(message)))


def _progress_bar(console: Console, unit: str) -> Progress:
    """With one task; imported only where there is a terminal to show it on."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(unit), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, transient=True)
    progress.add_task(unit, total=None)
    return progress


def _annotator(recognizer: Recognizer, folder: Path, *, show_pooling: bool) -> Callable[[Recognition], None]:
    """What saves an annotated copy of a picture into `folder`; imported only where that is asked for."""
    from apvit.recognition.album import Album
    from apvit.recognition.rendering import Pooling, annotate

    album = Album(folder)
    pooling = Pooling(recognizer.grid, recognizer.template) if show_pooling else None

    def save(found: Recognition) -> None:
        if found.picture is not None:
            album.save(found.source, annotate(found.picture, found.faces, pooling=pooling))

    return save


class _Run:
    """Results on their way to the sink and the album, and their count. Ctrl-C never cuts one in two."""

    def __init__(self, open_sink: Callable[[], Sink], save: Callable[[Recognition], None] | None):
        self._open_sink, self._save = open_sink, save
        self._sink: Sink | None = None
        self._start = time.monotonic()
        self.pictures = self.faces = self.bad = 0
        self.interrupted = False

    def take(self, found: Recognition) -> None:
        """Hand one result on."""
        with _uninterrupted():
            if self._sink is None:  # only now, so that a run which gives nothing leaves an older output alone
                self._sink = self._open_sink()
            self._sink.write(found)
            if self._save is not None:
                self._save(found)
            self.pictures += 1
            self.faces += len(found.faces)
            self.bad += found.error is not None

    def finish(self, *, whole: bool) -> None:
        """Complete the output; one that ends before its first result is left as it was."""
        with _uninterrupted():
            if self._sink is None and whole:
                self._sink = self._open_sink()
            if self._sink is not None:
                self._sink.close()

    def summary(self, output: str | None, save_dir: Path | None) -> str:
        """What to say at the end, in one line."""
        parts = [_count(self.pictures, "picture"), _count(self.faces, "face")]
        if self.bad:
            parts.append(f"{self.bad} could not be used")
        line = f"{', '.join(parts)} in {time.monotonic() - self._start:.1f} s"
        if output is not None and self._sink is not None:
            line += f"; results in {output}"
        if save_dir is not None:
            line += f"; annotated pictures in {save_dir}"
        return line


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the block is done."""
    if threading.current_thread() is not threading.main_thread():  # only there do signals arrive
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
