"""`apvit export --int8`: from a float32 export to int8, with its accuracy beside float32's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from apvit.files import counted

if TYPE_CHECKING:
    from rich.console import Console

    from apvit.data import Split
    from apvit.weights import Card

CALIBRATION = 512
"""Faces that activations are calibrated on."""
TIMED_BATCH = 32
SECONDS = 1.0
"""Time for timing each of float32 and int8."""


def calibration_and_measure(calibrate: str, data: str | None) -> tuple[Split, Split]:
    """The split to calibrate on, and the one to measure accuracy on: never the same."""
    from dataclasses import asdict

    from apvit.data import open_split
    from apvit.evaluation.provenance import same_dataset

    path = Path(calibrate)
    if path.suffix == ".parquet":
        if data is None:
            raise typer.BadParameter(
                "--calibrate names one file: give the faces that accuracy is measured on with --data",
                param_hint="--int8",
            )
        calibration = open_split(calibrate)
    else:
        calibration = open_split(calibrate, "train")
    measured = open_split(calibrate if data is None else data)
    a, b = calibration.metadata, measured.metadata
    if a.split == b.split and same_dataset(asdict(a), asdict(b))[0]:
        raise typer.BadParameter(
            f"accuracy must be measured on other faces than those calibrated on, and both are the {a.split} split of "
            f"{a.dataset}",
            param_hint="--data",
        )
    return calibration, measured


def write_int8(
    console: Console, exported: Path, target: Path, card: Card, calibration: Split, measured: Split
) -> dict[str, Any]:
    """Write the int8 form of the float32 file `exported` to `target`, card and figures inside; the record of it all.

    Prints what it costs and gains on every engine that is installed.
    """
    from dataclasses import asdict, replace
    from functools import partial

    import numpy as np
    from rich.progress import Progress

    from apvit.engines import Runtime
    from apvit.engines.export import batches, installed_engines
    from apvit.engines.exported import open_exported
    from apvit.engines.quantise import quantise_onnx, write_card
    from apvit.engines.timing import random_faces, summarise, take_turns
    from apvit.evaluation.engine_accuracy import compare_engines
    from apvit.evaluation.predictions import check_framing, decode
    from apvit.evaluation.provenance import describe_measurement

    check_framing(card, calibration)
    chosen = np.linspace(0, len(calibration) - 1, min(CALIBRATION, len(calibration))).astype(int)
    faces = decode(card, calibration, chosen)
    with console.status(f"calibrating on {counted(faces, 'face')} ..."):
        layers = quantise_onnx(exported, target, batches(card, faces), int(card.parameters["depth"]))
    x = random_faces(card, TIMED_BATCH)
    engines: dict[str, dict[str, Any]] = {}
    figures: dict[str, dict[str, Any]] = {}
    names = installed_engines()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=2 * len(names) * len(measured))
        for name in names:
            one, other = open_exported(exported, name), open_exported(target, name)
            figures[name], engines[name] = compare_engines(
                one, other, measured, progress=lambda n: progress.advance(task, n)
            )
            turns = {"float32": partial(one.run, x), "int8": partial(other.run, x)}
            timings = summarise(take_turns(turns, SECONDS), TIMED_BATCH, dict.fromkeys(turns))
            runtime = replace(other.runtime, precision="int8")  # which the card of this file does not say yet
            engines[name] |= {"runtime": asdict(runtime), "speed_here": timings[1].ratio.median}
    meta, origin = measured.metadata, calibration.metadata
    made = {
        **layers.to_dict(),
        "calibrated_on": {"dataset": origin.dataset, "split": origin.split, "faces": len(faces)},
        "measured_on": {"dataset": meta.dataset, "split": meta.split},
        "engines": {name: {k: v for k, v in row.items() if k != "speed_here"} for name, row in engines.items()},
    }
    first = names[0]
    runtime = Runtime(**engines[first]["runtime"])
    own = {**describe_measurement(meta, runtime), **figures[first], "engine": first}
    write_card(target, card, provenance=made, metrics=own)
    _show(console, made, engines, exported.stat().st_size, target.stat().st_size)
    return {**made, "engines": engines}


def _show(console: Console, made: dict[str, Any], engines: dict[str, dict[str, Any]], before: int, after: int) -> None:
    kept = "; ".join(f"{count} {reason}" for reason, count in made["float32_layers"].items())
    measured, calibrated = made["measured_on"], made["calibrated_on"]
    console.print(
        f"int8: {made['int8_layers']} convolutions and linear layers, calibrated on "
        f"{counted(calibrated['faces'], 'face')} of {calibrated['dataset']} {calibrated['split']}; "
        f"float32 stay {kept}; {after / before:.0%} of the size",
        markup=False,
    )
    for name, row in engines.items():
        low, high = row["interval"]
        console.print(
            f"{name}: accuracy on {counted(row['faces'], 'face')} of {measured['dataset']} {measured['split']} "
            f"{row['accuracy']:.4f}, float32 {row['accuracy_float32']:.4f}, difference {row['difference']:+.4f} "
            f"[{low:+.4f}, {high:+.4f}]; same expression for {row['same_expression']:.1%}; of the patches "
            f"{row['patches_kept']:.1%} and of the last tokens {row['tokens_kept']:.1%} kept by both; "
            f"{row['speed_here']:.2f} x the speed of float32 here, batch {TIMED_BATCH}",
            markup=False,
        )
