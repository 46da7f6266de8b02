"""`apvit calibrate`: probabilities that can be read as frequencies, and what leaving the unsure faces open buys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apvit.cli.options import FacesAtOnce, Split, TorchDevice, check_outputs
from apvit.files import counted

if TYPE_CHECKING:
    from rich.console import Console


def calibrate(
    weights: Annotated[
        str, typer.Argument(metavar="W", help="A bundled name (apvit models), a file, or hf://owner/repo.")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Weight file to write, *.safetensors; replaced.")],
    data: Annotated[
        str,
        typer.Option(
            metavar="D",
            help="Faces that the weights were not trained on: prepared Parquet file or folder, or anything "
            "`apvit data prepare` understands.",
        ),
    ],
    split: Split = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the folds, the floor and the bootstrap.")] = 0,
    batch_size: FacesAtOnce = 64,
    device: TorchDevice = "auto",
) -> None:
    """Fit the temperature of weights, and write them with it and its figures in the card.

    The tensors stay as they are, and so does the expression that each face gets. The calibration error that is shown is
    cross-fitted: each fold's, at the temperature of the others. A table for people goes to stderr, one JSON line for
    programs to stdout.
    """
    from rich.console import Console
    from rich.progress import Progress

    from apvit.data import open_split
    from apvit.evaluation.calibrate import calibrate
    from apvit.evaluation.markdown import runtime_words
    from apvit.evaluation.provenance import cautions, describe_data
    from apvit.files import sha256
    from apvit.machine import describe_machine
    from apvit.weights import find_weights, read_card

    check_outputs({"OUT": output})
    console = Console(stderr=True)
    card, faces = read_card(weights), open_split(data, split)
    digest = sha256(find_weights(weights))  # before the output, which may have its name
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("calibrating", total=2 * int((faces.labels >= 0).sum()))  # before and after
        measured = calibrate(
            weights,
            faces,
            output,
            device=device,
            batch_size=batch_size,
            seed=seed,
            progress=lambda n: progress.advance(task, n),
        )
    _show(console, measured, card.temperature)
    _line(console, f"measured with {runtime_words(measured['runtime'])}")
    for note in cautions(card, faces):
        _line(console, f"note: {note}")
    _line(console, f"wrote {output}")
    described = {
        "weights": {"weights": weights, "sha256": digest, "runtime": measured["runtime"]},
        "data": describe_data(data, faces.metadata),
        "machine": describe_machine(),
    }
    record = {"weights": weights, "data": data, "output": str(output), **measured, "with": described}
    print(json.dumps(record))


def _show(console: Console, measured: dict[str, Any], before: float) -> None:
    from rich.table import Table

    table = Table(title=f"{measured['dataset']} {measured['split']}, {counted(measured['faces'], 'face')}")
    for column in ("min. probability", "coverage", "accuracy"):
        table.add_column(column, justify="right")
    for row in measured["coverage"]:
        accuracy = "–" if row["accuracy"] is None else f"{row['accuracy']:.3f}"
        table.add_row(f"{row['min_probability']:.4f}", f"{row['coverage']:.3f}", accuracy)
    console.print(table)
    fitted = measured["calibration"]
    _line(console, f"{'temperature':<30}{fitted['temperature']:.4f}, before {before:.4f}")
    _line(console, f"{'ECE before':<30}{fitted['ece_before']:.4f}")
    _line(console, f"{'ECE cross-fitted':<30}{fitted['ece_cross_fitted']:.4f}, {fitted['folds']} folds")
    _line(console, f"{'ECE if perfectly calibrated':<30}{fitted['ece_floor']:.4f}")
    _line(console, f"{'AURC':<30}{measured['aurc']:.4f}")


def _line(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
