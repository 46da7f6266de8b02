"""`apvit recognize photo.jpg study/`: the run over pictures and videos, from names to results and annotated copies."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedIOBase
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING, Any, cast

import typer

from apvit.cli.interruption import INTERRUPTED, uninterrupted
from apvit.cli.messages import Messages
from apvit.cli.options import check_outputs, given, refuse
from apvit.cli.recognize_clips import Clips, Results
from apvit.cli.recognize_video import VideoOptions, check_options
from apvit.files import counted, names_folder, partial_name, reason

if TYPE_CHECKING:
    from apvit.recognition import Recognizer
    from apvit.recognition.album import Album
    from apvit.recognition.results import Recognition


@dataclass(frozen=True)
class PictureOptions:
    """The options of `apvit recognize` that only pictures have; a field's name is its option's."""

    null: bool = False
    save_dir: Path | None = None
    show_pooling: bool = False
    profile: bool = False


TABLES = ("csv", "parquet")


def recognize_pictures(
    inputs: list[str],
    options: PictureOptions,
    videos: VideoOptions,
    *,
    form: str,
    output: str | None,
    weights: str,
    workers: int | None,
    recognizer_options: Mapping[str, Any],
) -> None:
    """Do it; exits with 1 where an input could not be used, with 130 after Ctrl-C.

    A run that ends early, for whatever reason, leaves what it has done in the partial name of `output`.
    """
    save_dir = options.save_dir
    _check(inputs, options, videos)

    from apvit.recognition import Profile, Recognizer
    from apvit.recognition.sources import expand_sources, kind_of

    stack = ExitStack()
    again = form in TABLES or "-" not in inputs  # whether the names can be listed more than once
    listed = _read_list(form, stack) if "-" in inputs else None

    def sources(warn: Callable[[str], None] = lambda message: None) -> Iterator[str]:
        if listed is not None and again:
            listed.seek(0)
        return expand_sources(inputs, skip=save_dir, null=options.null, stdin=listed, warn=warn)

    # Rows for videos have other columns than rows for pictures.
    with_videos = form in TABLES and any(kind_of(source) == "video" for source in sources())
    recognizer = Recognizer(weights, workers=workers, **recognizer_options)
    album = save = None
    if save_dir is not None:
        from apvit.recognition.album import Album

        album = Album(save_dir)
        save = _annotator(recognizer, album, show_pooling=options.show_pooling)
    for folder in (videos.subtitles, videos.intervals):
        if folder is not None and names_folder(folder):
            Path(folder).mkdir(parents=True, exist_ok=True)
    results = Results(form, output, recognizer.expressions, embeddings=recognizer.embeddings, videos=with_videos)
    run = _Run(results, save)
    # On a terminal the lines of results show the progress; a bar between them would only flicker.
    bar = sys.stderr.isatty() and not (output is None and sys.stdout.isatty())
    profile = Profile()
    with stack:
        messages = stack.enter_context(Messages(bar=bar, unit="inputs"))
        clips = Clips(
            recognizer,
            videos,
            results,
            album,
            messages,
            weights=weights,
            recognizer_options=recognizer_options,
            temporary=lambda: stack.enter_context(TemporaryDirectory(prefix="apvit-")),
        )
        if bar and again:
            messages.expect(sum(1 for _ in sources()))
        try:
            for is_video, group in groupby(sources(messages.warn), key=lambda source: kind_of(source) == "video"):
                if is_video:
                    for source in group:
                        clips.take(source)
                        messages.advance()
                    continue
                for found in recognizer.recognitions(group, profile=profile):
                    run.take(found)
                    if run.unsaved is not None:
                        messages.error(run.unsaved)
                    if found.error_text is not None and form != "table":
                        messages.error(found.error_text)
                    if found.warning is not None:
                        messages.warn(f"{found.source}: {found.warning}")
                    messages.advance()
            run.whole = not clips.may_go_on
        except KeyboardInterrupt:
            run.interrupted = True
        finally:
            run.finish()
            clips.finish(whole=run.whole)
            if run.whole or run.interrupted or output is not None:
                messages.say(run.summary(clips, output, save_dir))
            if options.profile:
                for line in str(profile).splitlines():
                    messages.say(line)
        if not clips.count and not run.interrupted and (unused := given(videos)):
            messages.warn(f"no video was among the inputs, so {', '.join(unused)} changed nothing")
    if run.interrupted:
        raise typer.Exit(INTERRUPTED)
    if run.bad or run.without_copy or clips.bad or clips.unwritten:
        raise typer.Exit(1)


def _check(inputs: list[str], options: PictureOptions, videos: VideoOptions) -> None:
    """Raises typer.BadParameter for what cannot work, before anything is done."""
    if options.show_pooling and options.save_dir is None:
        raise typer.BadParameter("there is nothing to show it in; add --save-dir FOLDER", param_hint="--show-pooling")
    if options.save_dir is not None and options.save_dir.resolve() in {Path(name).resolve() for name in inputs}:
        raise typer.BadParameter("this folder is an input; choose another", param_hint="--save-dir")
    one = {"--timeline": videos.timeline, "--save-video": videos.save_video, "--from-table": videos.from_table}
    refuse([n for n, v in one.items() if v is not None], "this is for one video; --save-dir FOLDER has files for each")
    for option, value in (("--subtitles", videos.subtitles), ("--intervals", videos.intervals)):
        one_each = option == "--subtitles" or str(value).lower().endswith(".textgrid")
        if value is not None and one_each and not names_folder(value):
            raise typer.BadParameter("this file holds one video; name a FOLDER/ for one of each", param_hint=option)
    check_options(videos)
    check_outputs({"--summary": videos.summary})


def _read_list(form: str, stack: ExitStack) -> BufferedIOBase:
    """Standard input; for a table, whose columns depend on all names in it, read to its end and kept."""
    listed = cast("BufferedIOBase", sys.stdin.buffer)
    if form not in TABLES:
        return listed
    kept = stack.enter_context(TemporaryFile())  # noqa: SIM115 - the stack is one
    shutil.copyfileobj(listed, kept)
    return cast("BufferedIOBase", kept)


def _annotator(recognizer: Recognizer, album: Album, *, show_pooling: bool) -> Callable[[Recognition], None]:
    """What saves an annotated copy of a picture into `album`."""
    from apvit.recognition.rendering import Pooling, annotate

    pooling = Pooling(recognizer.grid, recognizer.template) if show_pooling else None

    def save(found: Recognition) -> None:
        if found.picture is not None:
            album.save(found.source, annotate(found.picture, found.faces, pooling=pooling))

    return save


class _Run:
    """Results on their way to the sink and the album, and their count. Ctrl-C never cuts one in two.

    whole: set once there are no more pictures; unsaved: why the last picture has no annotated copy
    """

    def __init__(self, results: Results, save: Callable[[Recognition], None] | None):
        self._results, self._save = results, save
        self._start = time.monotonic()
        self.pictures = self.faces = self.bad = self.without_copy = 0
        self.unsaved: str | None = None
        self.whole = self.interrupted = False

    def take(self, found: Recognition) -> None:
        """Hand one result on."""
        with uninterrupted():
            self._results.picture(found)
            self.pictures += 1
            self.faces += len(found.faces)
            self.bad += found.error is not None
            self.unsaved = None
            if self._save is not None:
                try:
                    self._save(found)
                except (OSError, ValueError) as error:  # ValueError: a size that the format cannot hold
                    self.without_copy += 1
                    self.unsaved = f"the annotated copy of {found.source} cannot be written: {reason(error)}"

    def finish(self) -> None:
        """Complete the output: under its name where the run is whole, else in its partial one."""
        with uninterrupted():
            self._results.close(whole=self.whole)

    def summary(self, clips: Clips, output: str | None, save_dir: Path | None) -> str:
        """What to say at the end, in one line."""
        parts = []
        if self.pictures or not clips.count:
            parts += [counted(self.pictures, "picture"), counted(self.faces, "face")]
        if clips.count:
            parts += [
                counted(clips.count, "video"),
                f"{counted(clips.frames, 'frame')} with {counted(clips.faces, 'face')}",
            ]
        if bad := self.bad + clips.bad:
            parts.append(f"{bad} could not be used")
        if self.without_copy:
            parts.append(f"{self.without_copy} without an annotated copy")
        line = f"{', '.join(parts)} in {time.monotonic() - self._start:.1f} s"
        if output is not None and self._results.began:
            if self.whole:
                line += f"; results in {output}"
            elif names_folder(output):
                line += f"; results so far in {output}"
            else:
                line += f"; results so far in {partial_name(output)}"
                line += f", {output} is an earlier run's" if Path(output).exists() else ""
            if not self.whole and clips.count:
                line += "; the same command goes on from there"
        if clips.count:
            files = clips.options.rendered().items()
            line += "".join(f"; {name} in {path if self.whole else partial_name(path)}" for name, path in files)
        if save_dir is not None:
            line += f"; annotated {'copies' if clips.count else 'pictures'} in {save_dir}"
        return line
