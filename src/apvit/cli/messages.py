"""What a command says on standard error: progress on a terminal, warnings, errors, a summary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from apvit.cli.wording import in_options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


class Messages:
    """Lines for people, and with `bar` a progress bar below them that counts `unit`s while the block lasts."""

    def __init__(self, *, bar: bool = False, unit: str = "pictures"):
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = _progress_bar(self._console, unit) if bar else None
        self._task = None if self._bar is None else self._bar.task_ids[0]

    def __enter__(self) -> Messages:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @contextmanager
    def part(self, unit: str) -> Iterator[None]:
        """A bar of its own, below the first, for what the block counts."""
        before = self._task
        if self._bar is not None:
            self._task = self._bar.add_task(unit, total=None)
        try:
            yield
        finally:
            if self._bar is not None and self._task is not None:
                self._bar.remove_task(self._task)
            self._task = before

    def expect(self, total: int) -> None:
        """How many units there will be."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=total)

    def advance(self, count: int = 1) -> None:
        """So many more units are done."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, count)

    def warn(self, message: str) -> None:
        """Something the user may not have meant."""
        self._print("warning: ", "yellow", in_options(message))

    def error(self, message: str) -> None:
        """Something that could not be used."""
        self._print("error: ", "red", in_options(message))

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

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, transient=True)
    progress.add_task(unit, total=None)
    return progress
