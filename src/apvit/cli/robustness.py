"""`apvit robustness`: accuracy on damaged faces and on the literature's occlusion and pose lists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apvit.cli.options import EvaluationEngine, FacesAtOnce, Resamples, Split, TorchDevice
from apvit.files import counted

if TYPE_CHECKING:
    from rich.table import Table


def robustness(
    data: Annotated[
        str,
        typer.Option(
            metavar="D", help="Prepared Parquet file or folder, or anything `apvit data prepare` understands."
        ),
    ],
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="W",
            help="A bundled name (apvit models), a file, or hf://owner/repo; repeat it to compare weights "
            "face by face with the first. "
            "Default: apvit_tiny.",
        ),
    ] = None,
    split: Split = None,
    lists: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="An occlusion or pose list of RAF-DB, FERPlus or AffectNet; may be repeated."
        ),
    ] = None,
    lists_only: Annotated[bool, typer.Option("--lists-only", help="No synthetic damage.")] = False,
    corruption: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Only this kind of damage: eyes, mouth, blocks, blur, noise, resolution, jpeg, brightness, rotation "
            "or jitter; may be repeated.",
        ),
    ] = None,
    faces: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Damage only N faces, drawn by the seed; default: all.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write robustness.md, .json and .png there.")
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Seed of the damage, the faces drawn and the bootstrap.")
    ] = 0,
    resamples: Resamples = 1000,
    batch_size: FacesAtOnce = 64,
    engine: EvaluationEngine = "torch",
    device: TorchDevice = "auto",
) -> None:
    """Measure what damage costs: curves over severity, hard faces, several weights side by side.

    A table for people on stderr, one JSON line for programs on stdout.
    """
    import json
    from dataclasses import asdict

    from rich.console import Console
    from rich.progress import Progress

    from apvit.data import open_split
    from apvit.engines import create_engine
    from apvit.evaluation.lists import read_list
    from apvit.evaluation.markdown import runtime_words
    from apvit.evaluation.provenance import describe_data, describe_weights, short_names
    from apvit.evaluation.robustness import Bench, choose_corruptions, measure_curves, measure_lists
    from apvit.evaluation.robustness_report import write_robustness
    from apvit.machine import describe_machine

    console = Console(stderr=True)
    refs = weights or ["apvit_tiny"]
    if lists_only and not lists:
        raise typer.BadParameter("give --lists FILE with --lists-only")
    if lists_only and corruption:
        raise typer.BadParameter("--lists-only and --corruption exclude each other")
    if len(set(refs)) < len(refs):
        raise typer.BadParameter("the same --weights stand twice")
    wanted = [read_list(path) for path in lists or []]
    opened = open_split(data, split)
    engines = {name: create_engine(ref, engine, device) for name, ref in zip(short_names(refs), refs, strict=True)}
    chosen, skipped = choose_corruptions(corruption or [], engines)
    bench = Bench.of(engines, opened, batch_size=batch_size)
    most = len(bench.faces) if faces is None else min(faces, len(bench.faces))
    damaged = 0 if lists_only else most

    passes = len(engines) * (damaged * (1 + 5 * len(chosen)) + (len(bench.faces) if wanted else 0))
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("recognising", total=passes)
        options: dict[str, Any] = {
            "seed": seed,
            "resamples": resamples,
            "progress": lambda n: progress.advance(task, n),
        }
        # Lists first: a list that does not belong to the data is said before minutes of damage.
        found = measure_lists(bench, wanted, **options) if wanted else []
        curves = None if lists_only else measure_curves(bench, chosen, faces=damaged, **options)

    record: dict[str, Any] = {
        "weights": [{"name": name, "weights": ref} for name, ref in zip(engines, refs, strict=True)],
        "data": data,
        "split": opened.metadata.split,
        "protocol": opened.metadata.protocol,
        "faces": len(bench.faces),
        "seed": seed,
        "resamples": resamples,
        "curves": curves,
        "skipped": {} if lists_only else skipped,
        "lists": found,
        "with": {
            "weights": [describe_weights(ref, used) for ref, used in zip(refs, engines.values(), strict=True)],
            "data": describe_data(data, opened.metadata),
            "machine": describe_machine(),
        },
    }
    if report is not None:
        write_robustness(report, record)

    if curves is not None:
        console.print(_table(curves, len(engines) > 1))
    for entry in found:
        name = Path(entry["file"]).name
        console.print(
            f"{name}: {entry['found']:,} of {entry['lines']:,} lines found, {entry['scored']:,} scored, "
            f"{entry['disagreements']:,} labelled otherwise than the data",
            highlight=False,
            markup=False,
        )
        for row in entry["results"]:
            low, high = row["interval"]
            text = f"  {row['name']}: accuracy {row['accuracy']:.4f} [{low:.4f}, {high:.4f}]"
            console.print(text, highlight=False, markup=False)
    for entry, used in zip(record["weights"], engines.values(), strict=True):
        text = f"{entry['name']} measured with {runtime_words(asdict(used.runtime))}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    print(json.dumps(record))


def _table(curves: dict[str, Any], several: bool) -> Table:
    """Accuracy at clean and three severities, and the mean drop over five."""
    from rich import box
    from rich.table import Table

    starred = "; * the 95 % interval of the difference in drop to the first excludes 0" if several else ""
    table = Table(title=f"accuracy by severity, {counted(curves['faces'], 'face')}{starred}", box=box.SIMPLE_HEAD)
    for column in ("damage", "weights", "clean", "1", "3", "5", "drop"):
        table.add_column(column, justify="left" if column in ("damage", "weights") else "right", no_wrap=True)
    for panel in curves["corruptions"]:
        for i, row in enumerate(panel["results"]):
            gap = row["difference"]
            sure = gap is not None and (gap["drop_interval"][0] > 0 or gap["drop_interval"][1] < 0)
            shown = [f"{row['accuracy'][k]:.3f}" for k in (0, 1, 3, 5)]
            table.add_row("" if i else panel["name"], row["name"], *shown, f"{row['drop']:.3f}{'*' if sure else ''}")
    return table
