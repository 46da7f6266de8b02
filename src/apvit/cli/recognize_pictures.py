"""`apvit recognize photo.jpg holiday/`: the run over pictures, from their names to results and annotated copies."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from apvit.cli.interruption import INTERRUPTED, uninterrupted
from apvit.cli.messages import Messages
from apvit.files import partial_name, reason

if TYPE_CHECKING:
    from apvit.recognition import Recognizer
    from apvit.recognition.results import Recognition
    from apvit.recognition.sinks import Sink


@dataclass(frozen=True)
class PictureOptions:
    """The options of `apvit recognize` that only pictures have; a field's name is its option's."""

    null: bool = False
    save_dir: Path | None = None
    show_pooling: bool = False
    profile: bool = False


def recognize_pictures(
    inputs: list[str],
    options: PictureOptions,
    *,
    form: str,
    output: str | None,
    weights: str,
    workers: int | None,
    recognizer_options: Mapping[str, Any],
) -> None:
    """Do it; exits with 1 where a picture could not be used, with 130 after Ctrl-C.

    A run that ends early, for whatever reason, leaves what it has done in the partial name of `output`.
    """
    save_dir = options.save_dir
    if options.show_pooling and save_dir is None:
        raise typer.BadParameter("there is nothing to show it in; add --save-dir FOLDER", param_hint="--show-pooling")
    if save_dir is not None and save_dir.resolve() in {Path(name).resolve() for name in inputs}:
        raise typer.BadParameter("this folder is an input; choose another", param_hint="--save-dir")

    from apvit.recognition import Profile, Recognizer
    from apvit.recognition.sinks import open_sink
    from apvit.recognition.sources import expand_sources

    recognizer = Recognizer(weights, workers=workers, **recognizer_options)
    save = None if save_dir is None else _annotator(recognizer, save_dir, show_pooling=options.show_pooling)
    embeddings = recognizer.embeddings
    run = _Run(lambda: open_sink(form, output, recognizer.expressions, embeddings=embeddings), save)
    # On a terminal the lines of results show the progress; a bar between them would only flicker.
    bar = sys.stderr.isatty() and not (output is None and sys.stdout.isatty())
    profile = Profile()
    with Messages(bar=bar) as messages:
        if bar and "-" not in inputs:
            messages.expect(sum(1 for _ in expand_sources(inputs, videos=False, skip=save_dir)))
        sources = expand_sources(inputs, videos=False, skip=save_dir, null=options.null, warn=messages.warn)
        try:
            for found in recognizer.recognitions(sources, profile=profile):
                run.take(found)
                if run.unsaved is not None:
                    messages.error(run.unsaved)
                if found.error_text is not None and form != "table":
                    messages.error(found.error_text)
                if found.warning is not None:
                    messages.warn(f"{found.source}: {found.warning}")
                messages.advance()
            run.whole = True
        except KeyboardInterrupt:
            run.interrupted = True
        finally:
            run.finish()
            if run.whole or run.interrupted or output is not None:
                messages.say(run.summary(output, save_dir))
            if options.profile:
                for line in str(profile).splitlines():
                    messages.say(line)
    if run.interrupted:
        raise typer.Exit(INTERRUPTED)
    if run.bad or run.without_copy:
        raise typer.Exit(1)


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
    """Results on their way to the sink and the album, and their count. Ctrl-C never cuts one in two.

    whole: set once there are no more pictures; unsaved: why the last picture has no annotated copy
    """

    def __init__(self, open_sink: Callable[[], Sink], save: Callable[[Recognition], None] | None):
        self._open_sink, self._save = open_sink, save
        self._sink: Sink | None = None
        self._start = time.monotonic()
        self.pictures = self.faces = self.bad = self.without_copy = 0
        self.unsaved: str | None = None
        self.whole = self.interrupted = False

    def take(self, found: Recognition) -> None:
        """Hand one result on."""
        with uninterrupted():
            if self._sink is None:  # only now: a run that gives nothing leaves no file
                self._sink = self._open_sink()
            self._sink.write(found)
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
            if self._sink is None and self.whole:
                self._sink = self._open_sink()
            if self._sink is not None:
                self._sink.close(whole=self.whole)

    def summary(self, output: str | None, save_dir: Path | None) -> str:
        """What to say at the end, in one line."""
        parts = [_count(self.pictures, "picture"), _count(self.faces, "face")]
        if self.bad:
            parts.append(f"{self.bad} could not be used")
        if self.without_copy:
            parts.append(f"{self.without_copy} without an annotated copy")
        line = f"{', '.join(parts)} in {time.monotonic() - self._start:.1f} s"
        if output is not None and self._sink is not None:
            if self.whole:
                line += f"; results in {output}"
            else:
                line += f"; results so far in {partial_name(output)}"
                line += f", {output} is an earlier run's" if Path(output).exists() else ""
        if save_dir is not None:
            line += f"; annotated pictures in {save_dir}"
        return line


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
