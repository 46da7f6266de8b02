"""`apvit data`: prepare a dataset from its owner's layout, and check one as it lies on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

if TYPE_CHECKING:
    from apvit.data import Prepared, Report

app = typer.Typer(name="data", help="Prepare datasets, and check them.", no_args_is_help=True)

SHOWN_DETAILS = 5
"""Lines that the text report shows of each finding; JSON has all."""

_Name = Annotated[str, typer.Argument(metavar="NAME", help="Dataset: ferplus.")]
_Source = Annotated[
    Path,
    typer.Argument(
        metavar="SRC",
        help="Folder or zip as its owner ships it. ferplus: FER2013Train/, FER2013Valid/, FER2013Test/ with PNG and "
        "label.csv, or fer2013.csv (or icml_face_data.csv) beside fer2013new.csv.",
    ),
]


class Format(StrEnum):
    """How `verify` reports."""

    text = "text"
    json = "json"


@app.command("prepare")
def prepare(
    name: _Name,
    src: _Source,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for train, valid and test.parquet.")],
    protocol: Annotated[
        str,
        typer.Option(
            help="Rule from votes to labels. majority: Microsoft's, more than half of the votes. argmax8: most votes "
            "among the expressions (papers' 'max'). argmax10: dropped where unknown or no face wins. unique-argmax8: "
            "argmax8 without ties. crossentropy, probability, multi-target: Microsoft's training modes, with "
            "validation and test by majority."
        ),
    ] = "majority",
    drop_leaks: Annotated[
        bool,
        typer.Option(
            "--drop-leaks/--keep-leaks",
            help="Leave out training faces whose pixels also stand in validation or test.",
        ),
    ] = True,
    also_in_test: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV (split,image) of faces that also stand in a test split which is not in SRC.",
        ),
    ] = None,
) -> None:
    """Write a dataset as one Parquet file per split, with labels, votes, counts and the hashes of its inputs."""
    from apvit.data import prepare as prepare_dataset

    with _progress("reading faces") as progress:
        prepared = prepare_dataset(
            name, src, out, protocol=protocol, drop_leaks=drop_leaks, also_in_test=also_in_test, progress=progress
        )
    _show_warnings(prepared.warnings)
    _show_prepared(prepared, out)


@app.command("verify")
def verify(
    name: _Name,
    src: _Source,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 for warnings too.")] = False,
    report_format: Annotated[
        Format, typer.Option("--format", help="text for people, json for programs.")
    ] = Format.text,
) -> None:
    """Check every line and picture; compare counts with the published ones; find duplicates and leaks.

    Exits 1 for malformed lines and for missing or unreadable pictures. Differing counts, duplicates and leaks are
    warnings.
    """
    from apvit.data import verify as verify_dataset

    with _progress("checking faces") as progress:
        report = verify_dataset(name, src, progress=progress)
    failed = report.failed(strict=strict)
    if report_format is Format.json:
        typer.echo(json.dumps(report.to_dict() | {"failed": failed}))
    else:
        _show_report(report, failed=failed)
    if failed:
        raise typer.Exit(1)


@contextmanager
def _progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, to be called with the number done and the total."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance


def _show_warnings(warnings: list[str]) -> None:
    console = Console(stderr=True)
    for warning in warnings:
        console.print(f"[yellow]warning[/yellow]: {escape(warning)}", soft_wrap=True, highlight=False)


def _show_prepared(prepared: Prepared, out: Path) -> None:
    from apvit.data import SPLITS

    console = Console()
    table = Table("", *prepared.splits)
    splits = [metadata for _, metadata in prepared.splits.values()]
    table.add_row("protocol", *(f"{s.protocol} on {s.vote_source}" for s in splits))
    for key in ("before", *(f"also_in_{split}" for split in SPLITS), "after"):
        if any(key in s.leaks for s in splits):
            table.add_row(key.replace("_", " "), *(_faces(s.leaks.get(key)) for s in splits))
    table.add_section()
    for expression in splits[0].labels.expressions:
        table.add_row(expression, *(f"{s.counts['per_class'][expression]:,}" for s in splits))
    console.print(table)
    for split in prepared.splits:
        console.print(f"wrote {escape(str(out / f'{split}.parquet'))}", soft_wrap=True, highlight=False)


def _faces(leak: dict[str, int] | None) -> str:
    """A leak count of a split's metadata."""
    return "" if leak is None else f"{leak['rows']:,} ({leak['labelled']:,} labelled)"


def _show_report(report: Report, *, failed: bool) -> None:
    console = Console()
    title = f"[bold]{escape(report.dataset)}[/bold] in {escape(report.source)}: {escape(report.description)}"
    console.print(title, soft_wrap=True, highlight=False)
    table = Table("", *(counts.split for counts in report.splits))
    table.add_row("faces", *(_beside(counts.faces, counts.published_faces) for counts in report.splits))
    table.add_row("labelled", *(_beside(counts.labelled, counts.published_labelled) for counts in report.splits))
    table.add_section()
    for expression in report.splits[0].per_class if report.splits else ():
        cells = ((c.per_class[expression], (c.published_per_class or {}).get(expression)) for c in report.splits)
        table.add_row(expression, *(_beside(count, published) for count, published in cells))
    console.print(table)
    for finding in report.findings:
        colour = "red" if finding.severity == "error" else "yellow"
        message = f"[{colour}]{finding.severity}[/{colour}]: {escape(finding.message)}"
        console.print(message, soft_wrap=True, highlight=False)
        for line in finding.details[:SHOWN_DETAILS]:
            console.print(f"  {escape(line)}", soft_wrap=True, highlight=False)
        if len(finding.details) > SHOWN_DETAILS:
            console.print(f"  and {len(finding.details) - SHOWN_DETAILS:,} more (--format json has all)")
    errors = sum(finding.severity == "error" for finding in report.findings)
    warnings = len(report.findings) - errors
    console.print(f"{'failed' if failed else 'passed'}: {errors} errors, {warnings} warnings", highlight=False)


def _beside(count: int, published: int | None) -> str:
    """A count, with the published one where it differs."""
    return f"{count:,}" if published in (None, count) else f"[yellow]{count:,}[/yellow] (published {published:,})"
