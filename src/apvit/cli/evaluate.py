"""`apvit evaluate`: the figures of weights on a split, one pass, no test-time augmentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apvit.cli.options import EvaluationEngine, FacesAtOnce, Resamples, Split, TorchDevice
from apvit.files import counted

if TYPE_CHECKING:
    from rich.console import Console


def evaluate(
    data: Annotated[
        list[str],
        typer.Option(
            metavar="D",
            help="Prepared Parquet file or folder, or anything `apvit data prepare` understands; may be repeated "
            "with --cross, where a file such as raf-db/test.parquet chooses its own split.",
        ),
    ],
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="W",
            help="A bundled name (apvit models), a file, or hf://owner/repo; may be repeated with --cross. "
            "Default: apvit_tiny.",
        ),
    ] = None,
    split: Split = None,
    cross: Annotated[
        bool, typer.Option("--cross", help="Every --weights on every --data: trained on one, tested on another.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write a report there: Markdown, JSON, pictures, a table of faces."),
    ] = None,
    resamples: Resamples = 1000,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the bootstrap.")] = 0,
    batch_size: FacesAtOnce = 64,
    engine: EvaluationEngine = "torch",
    device: TorchDevice = "auto",
) -> None:
    """Measure weights on a split: a table for people on stderr, one JSON line for programs on stdout."""
    from rich.console import Console

    console = Console(stderr=True)
    refs = weights or ["apvit_tiny"]
    options = {"resamples": resamples, "seed": seed, "batch_size": batch_size}
    if cross:
        _cross(console, refs, data, split, report, engine, device, options)
        return
    if len(refs) > 1 or len(data) > 1:
        raise typer.BadParameter(
            f"{counted(refs, 'weight file')} and {counted(data, 'dataset')}: add --cross to try each on each"
        )
    _single(console, refs[0], data[0], split, report, engine, device, options)


def _single(
    console: Console,
    weights: str,
    data: str,
    split: str | None,
    report: Path | None,
    engine: str,
    device: str,
    options: dict[str, int],
) -> None:
    from dataclasses import asdict

    from rich.progress import Progress

    from apvit.data import open_split
    from apvit.engines import create_engine
    from apvit.evaluation.examine import examine
    from apvit.evaluation.overlap import Neighbours
    from apvit.evaluation.predictions import predict
    from apvit.evaluation.provenance import cautions, describe_data, describe_weights, relate, short_names
    from apvit.evaluation.report import write_report
    from apvit.machine import describe_machine

    opened, faces = create_engine(weights, engine, device), open_split(data, split)
    meta = faces.metadata
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("evaluating", total=int((faces.labels >= 0).sum()))
        predictions = predict(
            opened, faces, batch_size=options["batch_size"], progress=lambda n: progress.advance(task, n)
        )
    figures = examine(
        predictions, Neighbours.of(data, meta.split), resamples=options["resamples"], seed=options["seed"]
    )
    notes = cautions(opened.card, faces)
    described = {
        "weights": describe_weights(weights, opened),
        "data": describe_data(data, meta),
        "relation": asdict(relate(opened.card, faces)),
        "machine": describe_machine(),
    }
    where = {"weights": weights, "data": data, "split": meta.split, "protocol": meta.protocol}
    record = {**where, **figures, "with": described}
    if report is not None:
        write_report(report, {**record, "name": short_names([weights])[0], "cautions": notes}, predictions)
    _show(console, record, notes, f"{weights} on {meta.dataset} {meta.split}, {meta.protocol or 'labels'}")
    print(json.dumps(record))


def _show(console: Console, record: dict[str, Any], notes: list[str], title: str) -> None:
    from rich.table import Table

    from apvit.evaluation.markdown import runtime_words
    from apvit.evaluation.report import HEADLINES

    table = Table(title=f"{title}, {counted(record['faces'], 'face')}")
    for column in ("expression", "faces", "recall", "precision", "F1"):
        table.add_column(column, justify="left" if column == "expression" else "right")
    for name, row in record["per_class"].items():
        table.add_row(name, f"{row['faces']:,}", *(f"{row[key]:.3f}" for key in ("recall", "precision", "f1")))
    console.print(table)
    for key, name in HEADLINES.items():
        low, high = record["intervals"][key]
        _line(console, f"{name:<20}{record[key]:.4f}  95 % [{low:.4f}, {high:.4f}]")
    shared = record["shared_faces"]
    if shared is not None and shared["faces"]:
        without = shared["without"]
        rest = "" if without is None else f"; accuracy without them {without['accuracy']:.4f}"
        _line(console, f"{shared['faces']:,} of these faces also stand in another split{rest}")
    for name, figures in record["attributes"].items():
        if (gap := figures["gap"]) is not None:
            low, high = gap["interval"]
            text = f"largest gap by {name}: {gap['higher']} over {gap['lower']} by {gap['difference']:.3f}"
            _line(console, f"{text} [{low:.3f}, {high:.3f}]")
    _line(console, f"measured with {runtime_words(record['with']['weights']['runtime'])}")
    for note in notes:
        _line(console, f"note: {note}")
    if record["label_order"] is not None:
        _line(console, f"warning: {record['label_order']['sentence']}")


def _cross(
    console: Console,
    weights: list[str],
    data: list[str],
    split: str | None,
    report: Path | None,
    engine: str,
    device: str,
    options: dict[str, int],
) -> None:
    from rich.table import Table

    from apvit.data import open_split
    from apvit.engines import create_engine
    from apvit.evaluation.cross import cross_cell, write_cross
    from apvit.evaluation.provenance import describe_data, describe_weights, short_names
    from apvit.machine import describe_machine

    if len(set(weights)) < len(weights) or len(set(data)) < len(data):
        raise typer.BadParameter("the same --weights or --data stand twice")
    engines = {
        name: create_engine(ref, engine, device) for name, ref in zip(short_names(weights), weights, strict=True)
    }
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    names, described = short_names(data), []
    # Data outside: a split may be large, and only one is held at a time.
    for name, ref in zip(names, data, strict=True):
        faces = open_split(ref, split)
        described.append(describe_data(ref, faces.metadata))
        for own, opened in engines.items():
            with console.status(f"{own} on {name}"):
                cells[own, name] = {"weights": own, "data": name, **cross_cell(opened, faces, **options)}
    record: dict[str, Any] = {
        "cross": True,
        "weights": list(engines),
        "data": names,
        "weights_given": weights,
        "data_given": data,
        "resamples": options["resamples"],
        "seed": options["seed"],
        "cells": [cells[own, name] for own in engines for name in names],
        "with": {
            "weights": [describe_weights(ref, opened) for ref, opened in zip(weights, engines.values(), strict=True)],
            "data": described,
            "machine": describe_machine(),
        },
    }
    if report is not None:
        write_cross(report, record)
    table = Table(title="accuracy; * tested on the dataset it was trained on, ? this cannot be known")
    for column in ("weights", *names):
        table.add_column(column)
    for own in engines:
        table.add_row(own, *(_cell(cells[own, name]) for name in names))
    console.print(table)
    for cell in record["cells"]:
        where = f"{cell['weights']} on {cell['data']}"
        if cell["error"] is not None:
            _line(console, f"{where}: {cell['error']}")
        elif cell["label_order"] is not None:
            _line(console, f"warning: {where}: {cell['label_order']['sentence']}")
    print(json.dumps(record))
    if any(cell["error"] is not None for cell in record["cells"]):
        raise typer.Exit(1)


def _cell(cell: dict[str, Any]) -> str:
    if cell["error"] is not None:
        return "does not fit"
    from apvit.evaluation.cross import MARKS

    mark = MARKS[cell["same_dataset"]]
    return "{:.4f}{} \\[{:.4f}, {:.4f}]".format(cell["accuracy"], mark, *cell["interval"])


def _line(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
