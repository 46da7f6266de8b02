"""The files of a run folder, written whole or not at all."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from apvit.files import completing, reason


class TrainingError(ValueError):
    """A run cannot start or go on; the message says what to change."""


def last_checkpoint(folder: Path) -> Path:
    """Where the run in `folder` keeps its last whole epoch."""
    return folder / "checkpoints" / "last.ckpt"


def how_to_go_on(folder: Path) -> str:
    """What to do after the run in `folder` has ended early."""
    if last_checkpoint(folder).is_file():
        return f"resume: true goes on from the last whole epoch in {folder}"
    return f"start again: no epoch was completed in {folder}"


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` write to the file `path`, whole or not at all.

    A full disk leaves the file that was there: TrainingError then says so.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with completing(path) as temporary, temporary.open("wb") as file:
            write(file)
    except (OSError, RuntimeError) as error:  # torch.save turns the file's errors into RuntimeErrors
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        folder = path.parent.parent if path.parent.name == "checkpoints" else path.parent
        before = "; what stood there before is kept" if path.is_file() else ""
        raise TrainingError(
            f"cannot write {path}: {reason(cause)}{before}: make room; {how_to_go_on(folder)}"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_file(path, lambda file: file.write(text.encode()))


Metrics = dict[int, dict[str, float]]
"""Figures of a run: {epoch, counted from 0: {name: value}}."""


def read_metrics(path: Path) -> Metrics:
    """The figures in metrics.csv; an epoch may stand in several lines that say different things of it."""
    metrics: Metrics = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            values = {name: float(value) for name, value in row.items() if name != "epoch" and value}
            metrics.setdefault(int(row["epoch"]), {}).update(values)
    return metrics


def write_metrics(path: Path, metrics: Metrics) -> None:
    """Write metrics.csv: one line per epoch."""
    names = sorted({name for values in metrics.values() for name in values})
    text = io.StringIO()
    writer = csv.DictWriter(text, ["epoch", *names], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"epoch": epoch, **values} for epoch, values in sorted(metrics.items()))
    write_text(path, text.getvalue())
