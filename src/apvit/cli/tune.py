"""`apvit tune`: what pooling should keep on this machine, searched on real faces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apvit.cli.options import FacesAtOnce, Resamples, Split, TorchDevice, check_outputs
from apvit.files import counted

if TYPE_CHECKING:
    from rich.table import Table

UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def tune(
    weights: Annotated[
        str, typer.Argument(metavar="W", help="A bundled name (apvit models), a file, or hf://owner/repo.")
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="D", help="Prepared Parquet file or folder, or anything `apvit data prepare` understands."
        ),
    ],
    split: Split = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Choose the most accurate setting within this time a face, such as 10ms."),
    ] = None,
    accuracy_loss: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="LOSS",
            help="Choose the fastest setting that loses at most this accuracy against the card's own, such as 0.005.",
        ),
    ] = None,
    faces: Annotated[
        int | None, typer.Option(min=2, metavar="N", help="Search on N faces, drawn by the seed; default: all.")
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="What runs the network: torch, onnx or openvino.")
    ] = "torch",
    timed_batch: Annotated[
        int, typer.Option(min=1, metavar="B", help="Faces at once while timing: 1 for a camera, more for archives.")
    ] = 1,
    report: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write tune.json and tune.png there.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a copy of the weights (.safetensors) whose card holds the choice."),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Seed of the faces drawn, their halves and the bootstrap.")
    ] = 0,
    resamples: Resamples = 1000,
    batch_size: FacesAtOnce = 64,
    device: TorchDevice = "auto",
) -> None:
    """Search how many patches and tokens to keep: accuracy on real faces, time on this machine, no retraining.

    Chosen on one half of the faces, reported on the other. A table for people on stderr, one JSON line for programs on
    stdout.
    """
    import json
    import tempfile

    from rich.console import Console
    from rich.progress import Progress

    from apvit.data import open_split
    from apvit.evaluation.markdown import runtime_words
    from apvit.evaluation.provenance import describe_data, describe_weights
    from apvit.evaluation.tuning import Goal, candidate_settings, draw_faces, open_settings, write_tuned
    from apvit.evaluation.tuning import tune as search
    from apvit.evaluation.tuning_picture import write_tuning
    from apvit.machine import describe_machine
    from apvit.weights import read_card

    if (budget is None) == (accuracy_loss is None):
        raise typer.BadParameter("give either --budget TIME or --accuracy-loss LOSS")
    check_outputs({"--output": output})
    if output is not None and output.suffix != ".safetensors":
        raise typer.BadParameter(f"{output.name} must end in .safetensors", param_hint="--output")
    goal = Goal(None if budget is None else milliseconds(budget), accuracy_loss)
    console = Console(stderr=True, highlight=False)
    card = read_card(weights)
    settings = candidate_settings(card)
    opened = open_split(data, split)
    drawn = draw_faces(card, opened, faces, seed)
    with tempfile.TemporaryDirectory(prefix="apvit-tune-") as folder:
        with console.status(f"preparing {len(settings)} settings ..."):
            engines = open_settings(weights, settings, engine, Path(folder), device)
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("timing, then recognising", total=len(settings) * len(drawn))
            chosen, found = search(
                settings,
                engines,
                drawn,
                goal,
                timed_batch=timed_batch,
                resamples=resamples,
                seed=seed,
                batch_size=batch_size,
                progress=lambda n: progress.advance(task, n),
            )
        used = describe_weights(weights, engines[0])
    meta, machine = opened.metadata, describe_machine()
    record = {"weights": weights, "data": data, "split": meta.split, "engine": engine, **found, "machine": machine}
    record["with"] = {"weights": used, "data": describe_data(data, meta), "machine": machine}
    title = f"{Path(weights).stem if '/' in weights else weights} on {meta.dataset} {meta.split}, {engine}"
    if report is not None:
        write_tuning(report, record, title)
    if output is not None:
        write_tuned(weights, output, chosen, record, meta)
        record["output"] = str(output)
    console.print(_table(record, title))
    row = record["settings"][record["chosen"]]
    reported, own = row["reporting"], record["settings"][0]
    console.print(
        f"chosen: --keep {row['keep']}, {row['ms']:.3g} ms a face against {own['ms']:.3g}; accuracy on the faces that "
        f"had no part in the choice {reported['accuracy']:.4f}, {_difference(reported)} to the card's own",
        markup=False,
        soft_wrap=True,
    )
    console.print(f"measured with {runtime_words(used['runtime'])}", markup=False, soft_wrap=True)
    for note in record["notes"]:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    print(json.dumps(record))


def milliseconds(text: str) -> float:
    """A time such as 10ms, 0.5s or 800us; typer.BadParameter for anything else."""
    import re

    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+) ?(us|ms|s)", text.strip())
    if match is None or not float(match[1]) > 0:
        raise typer.BadParameter(f"{text!r} is no time above 0; write 10ms, 0.5s or 800us", param_hint="--budget")
    return float(match[1]) * UNITS[match[2]]


def _table(record: dict[str, Any], title: str) -> Table:
    from rich import box
    from rich.table import Table

    own = record["settings"][0]["all"]
    heading = f"{title}, {counted(own['faces'], 'face')}; accuracy of the card's own setting {own['accuracy']:.4f}"
    table = Table(title=heading, box=box.SIMPLE_HEAD)
    table.add_column("keep", overflow="fold")
    for column in ("MMAC", "ms a face", "points to own [95 %]"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for i, row in sorted(enumerate(record["settings"]), key=lambda pair: pair[1]["ms"]):
        marks = [("chosen", i == record["chosen"]), ("own", i == 0), ("front", row["by_ms"])]
        cells = [row["keep"], f"{row['macs'] / 1e6:.0f}", f"{row['ms']:.2f}", _points(row["all"])]
        table.add_row(*(cell.replace("[", "\\[") for cell in cells), ", ".join(name for name, on in marks if on))
    return table


def _difference(part: dict[str, Any]) -> str:
    low, high = part["interval"]
    return f"{part['difference']:+.4f} [{low:+.4f}, {high:+.4f}]"


def _points(part: dict[str, Any]) -> str:
    low, high = (100 * end for end in part["interval"])
    return f"{100 * part['difference']:+.2f} [{low:+.2f}, {high:+.2f}]"
