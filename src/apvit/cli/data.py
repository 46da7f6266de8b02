"""`apvit data`: prepare a dataset from its owner's layout, and check one as it lies on disk."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apvit.cli.help import Command, Group
from apvit.cli.wording import in_options
from apvit.files import counted

if TYPE_CHECKING:
    from rich.console import Console

    from apvit.data import Alignment, Prepared, Report

app = typer.Typer(cls=Group, name="data", help="Prepare datasets, and check them.", no_args_is_help=True)

SHOWN_DETAILS = 5
"""Lines that the text report shows of each finding; JSON has all."""

_OWN = "Options of single datasets"
_SPLITS = "Splits"
_ALIGNING = "Alignment"

_Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="raf-db, ferplus, affectnet, sfew, expw or aff-wild2; folder for pictures of your own.",
    ),
]
_Source = Annotated[
    Path,
    typer.Argument(
        metavar="SRC",
        help="Folder or zip as the dataset's owner ships it. For folder: <split>/<expression>/ or <expression>/, or "
        "labels.csv with the columns path and label, and if you like split, group, x1, y1, x2, y2.",
    ),
]
_Classes = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="affectnet, aff-wild2: 8 or, without contempt or other, 7 expressions.",
        rich_help_panel=_OWN,
        show_default="8",
    ),
]
_Pictures = Annotated[
    str | None,
    typer.Option(
        metavar="WHICH",
        help="raf-db: aligned (as published), original, or the folder of your own crops. sfew: aligned or frames. "
        "aff-wild2: cropped_aligned or cropped.",
        rich_help_panel=_OWN,
        show_default="the aligned ones",
    ),
]
_Protocol = Annotated[
    str | None,
    typer.Option(
        metavar="RULE",
        help="ferplus: from ten votes to a label. majority: Microsoft's, more than half of them. argmax8: most among "
        "the expressions (papers' 'max'). argmax10: dropped where unknown or no face wins. unique-argmax8: argmax8 "
        "without ties. crossentropy, probability, multi-target: Microsoft's training modes; valid and test by "
        "majority.",
        rich_help_panel=_OWN,
        show_default="majority",
    ),
]
_AlsoInTest = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="ferplus: CSV (split,image) of faces that also stand in a test split which is not in SRC.",
        rich_help_panel=_OWN,
    ),
]
_Every = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="aff-wild2: take every Nth training frame; neighbours are nearly equal.",
        rich_help_panel=_OWN,
        show_default="1",
    ),
]
_Shares = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,C",
        help="expw, which has no official split: shares of train, valid and test.",
        rich_help_panel=_OWN,
        show_default="0.75,0.1,0.15",
    ),
]
_MinConfidence = Annotated[
    float | None,
    typer.Option(metavar="X", help="expw: leave out faces whose box is less certain.", rich_help_panel=_OWN),
]
_Table = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="folder: the CSV in SRC.",
        rich_help_panel=_OWN,
        show_default="labels.csv, or else folders",
    ),
]
_Labels = Annotated[
    str | None,
    typer.Option(
        metavar="0=E,1=E",
        help="all but ferplus: what the numbers, or names, of this copy mean, such as 0=anger,1=disgust and so on.",
        rich_help_panel=_OWN,
    ),
]
_GroupPattern = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="folder: the first capture group, found in a picture's name, or in its path if there is a slash in REGEX, "
        "names the person or video that must not stand in two splits. auto: known names such as those of CK+, KDEF and "
        "frames of videos; none: no groups.",
        rich_help_panel=_OWN,
        show_default="auto",
    ),
]
_ValidShare = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Share of train that becomes valid where the dataset has none: of each class alike, without dividing "
        "a subject, a video or equal pictures. 0: none.",
        rich_help_panel=_SPLITS,
        show_default="0.1",
    ),
]
_Seed = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Draws the splits that nobody published: expw's, and every valid split carved from train.",
        rich_help_panel=_SPLITS,
        show_default="0",
    ),
]


class Format(StrEnum):
    """How `verify` reports."""

    text = "text"
    json = "json"


class Choose(StrEnum):
    """Which face of several is aligned."""

    nearest_centre = "nearest-centre"
    largest = "largest"
    given = "given"


@app.command("prepare", cls=Command)
def prepare(
    name: _Name,
    src: _Source,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for train, valid and test.parquet.")],
    drop_leaks: Annotated[
        bool,
        typer.Option(
            "--drop-leaks/--keep-leaks",
            help="Leave out training faces whose pixels also stand in valid or test.",
            rich_help_panel=_SPLITS,
        ),
    ] = True,
    valid_share: _ValidShare = None,
    seed: _Seed = None,
    align: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help="Find each face and warp it to a template: arcface-112, ferplus-48-v1, or a JSON file with name, size "
            "and points. Without this, faces with a box are cropped and others stay as shipped. A run that was "
            "stopped goes on where it was.",
            rich_help_panel=_ALIGNING,
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            metavar="PX", help="Side of the aligned faces.", rich_help_panel=_ALIGNING, show_default="the template's"
        ),
    ] = None,
    choose: Annotated[
        Choose | None,
        typer.Option(
            help="Which of several faces; given: the dataset's own landmarks or box. A box always decides.",
            rich_help_panel=_ALIGNING,
            show_default="nearest-centre",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Processes that align.", rich_help_panel=_ALIGNING, show_default="one per core"),
    ] = None,
    protocol: _Protocol = None,
    also_in_test: _AlsoInTest = None,
    pictures: _Pictures = None,
    classes: _Classes = None,
    every: _Every = None,
    shares: _Shares = None,
    min_confidence: _MinConfidence = None,
    table: _Table = None,
    labels: _Labels = None,
    group_pattern: _GroupPattern = None,
) -> None:
    """Write a dataset as one Parquet file per split, with labels, groups, counts and the hashes of its inputs.

    Example: apvit data prepare raf-db RAF-DB/basic prepared/raf-db --align arcface-112
    """
    from apvit.data import prepare as prepare_dataset

    alignment = _alignment(align, size, choose, workers)
    options = _given(
        protocol=protocol,
        also_in_test=also_in_test,
        pictures=pictures,
        classes=classes,
        every=every,
        shares=_fractions(shares),
        min_confidence=min_confidence,
        table=table,
        labels=_meanings(labels),
        group_pattern=group_pattern,
    )
    try:
        with _progress("reading faces" if alignment is None else "aligning faces") as progress:
            prepared = prepare_dataset(
                name,
                src,
                out,
                drop_leaks=drop_leaks,
                valid_share=valid_share,
                seed=seed,
                align=alignment,
                progress=progress,
                **options,
            )
    except KeyboardInterrupt:
        if alignment is not None:
            print("run the same command again to go on from the faces that are aligned", file=sys.stderr)
        raise
    _show_warnings(prepared.warnings)
    _show_prepared(prepared, name, src, out)


@app.command("verify", cls=Command)
def verify(
    name: _Name,
    src: _Source,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 for warnings too.")] = False,
    report_format: Annotated[
        Format, typer.Option("--format", help="text for people, json for programs.")
    ] = Format.text,
    valid_share: _ValidShare = None,
    seed: _Seed = None,
    protocol: _Protocol = None,
    also_in_test: _AlsoInTest = None,
    pictures: _Pictures = None,
    classes: _Classes = None,
    every: _Every = None,
    shares: _Shares = None,
    min_confidence: _MinConfidence = None,
    table: _Table = None,
    labels: _Labels = None,
    group_pattern: _GroupPattern = None,
) -> None:
    """Check every line and picture; compare counts with the published ones; find what stands in two splits.

    Exits 1 for what `prepare` refuses: malformed lines, labels outside the label space, missing or unreadable pictures.
    Differing counts, equal and nearly equal pictures, and subjects or videos in two splits are warnings. The valid
    split that `prepare` would carve is checked too.
    """
    from apvit.data import verify as verify_dataset

    options = _given(
        protocol=protocol,
        also_in_test=also_in_test,
        pictures=pictures,
        classes=classes,
        every=every,
        shares=_fractions(shares),
        min_confidence=min_confidence,
        table=table,
        labels=_meanings(labels),
        group_pattern=group_pattern,
    )
    with _progress("checking faces") as progress:
        report = verify_dataset(name, src, valid_share=valid_share, seed=seed, progress=progress, **options)
    failed = report.failed(strict=strict)
    if report_format is Format.json:
        typer.echo(json.dumps(report.to_dict() | {"failed": failed}))
    else:
        _show_report(report, failed=failed)
    if failed:
        raise typer.Exit(1)


def _alignment(align: str | None, size: int | None, choose: Choose | None, workers: int | None) -> Alignment | None:
    """The alignment that the flags ask for; typer's error where there is nothing to align to."""
    if align is None:
        if lonely := [flag for flag, value in (("size", size), ("choose", choose), ("workers", workers)) if value]:
            raise typer.BadParameter(f"--{lonely[0]} is about alignment: say to which template with --align TEMPLATE")
        return None
    from apvit.data import Alignment
    from apvit.data.aligning import load_template
    from apvit.machine import core_count

    chosen = (choose or Choose.nearest_centre).value
    return Alignment(load_template(align), size, chosen, workers or core_count())


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given: a dataset refuses those that it does not have."""
    return {name: value for name, value in options.items() if value is not None}


def _meanings(text: str | None) -> dict[str, str] | None:
    from apvit.data.label_meanings import parse_labels

    return None if text is None else parse_labels(text)


def _fractions(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        raise typer.BadParameter(f"--shares is three numbers such as 0.75,0.1,0.15, not {text!r}") from None


@contextmanager
def _progress(description: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, to be called with the number done and the total."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance


def _show_warnings(warnings: list[str]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    for warning in warnings:
        console.print(f"[yellow]warning[/yellow]: {escape(in_options(warning))}", soft_wrap=True, highlight=False)


def _show_prepared(prepared: Prepared, name: str, src: Path, out: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    from apvit.data import LEFT_OUT_FILE, SPLITS

    console = Console()
    _show_title(console, name, str(src), prepared.description)
    table = Table("", *(Column(split, overflow="fold") for split in prepared.splits))
    splits = list(prepared.splits.values())
    table.add_row("protocol", *(" on ".join(filter(None, (s.protocol, s.vote_source))) for s in splits))
    for key in ("before", *(f"also_in_{split}" for split in SPLITS), "after"):
        if any(key in s.leaks for s in splits):
            table.add_row(key.replace("_", " "), *(_faces(s.leaks.get(key)) for s in splits))
    if any("carved" in s.counts for s in splits):
        table.add_row("carved for valid", *(_faces(s.counts.get("carved")) for s in splits))
    if any("left_out" in s.counts for s in splits):
        table.add_row("left out", *(f"{s.counts.get('left_out', 0):,}" for s in splits))
    table.add_section()
    for expression in splits[0].labels.expressions:
        table.add_row(expression, *(f"{s.counts['per_class'][expression]:,}" for s in splits))
    console.print(table)
    if prepared.left_out:
        path = out / LEFT_OUT_FILE
        console.print(f"why faces are left out: {escape(str(path))}", soft_wrap=True, highlight=False)
    for split in prepared.splits:
        console.print(f"wrote {escape(str(out / f'{split}.parquet'))}", soft_wrap=True, highlight=False)


def _faces(leak: dict[str, int] | None) -> str:
    """A leak count of a split's metadata."""
    return "" if leak is None else f"{leak['rows']:,} ({leak['labelled']:,} labelled)"


def _show_title(console: Console, dataset: str, source: str, description: str) -> None:
    from rich.markup import escape

    title = f"[bold]{escape(dataset)}[/bold] in {escape(source)}: {escape(description)}"
    console.print(title, soft_wrap=True, highlight=False)


def _show_report(report: Report, *, failed: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    _show_title(console, report.dataset, report.source, report.description)
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
    console.print(
        f"{'failed' if failed else 'passed'}: {counted(errors, 'error')}, {counted(warnings, 'warning')}",
        highlight=False,
    )


def _beside(count: int, published: int | None) -> str:
    """A count, with the published one where it differs."""
    return f"{count:,}" if published in (None, count) else f"[yellow]{count:,}[/yellow] (published {published:,})"
