"""Trained on A, tested on B: several weight files on several datasets, with every label map spelt out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from apvit.data import Split
from apvit.engines import Engine
from apvit.expressions import label_map
from apvit.files import write_whole

from .doctor import diagnose_labels
from .evaluate import figures_of
from .examine import predicted_outside
from .intervals import RESAMPLES, metric_intervals
from .markdown import PASS, bootstrap, data_line, machine_line, spread, table, weights_line
from .predictions import predict
from .provenance import relate

MARKS = {True: "*", None: "?", False: ""}
"""What stands behind a figure by `same_dataset`."""
FIGURES = ("faces", "accuracy", "mean_class_accuracy", "macro_f1", "ece")


def cross_cell(
    engine: Engine, split: Split, *, batch_size: int = 64, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """One cell: the figures with the interval of accuracy, what `relate` says of weights and data, and

    label_map {expression of the data: that of the weights, or None where its faces are left out}; dropped
    {expression: faces left out}; predicted_outside_labels and accuracy_within_labels (accuracy where the weights may
    only choose among the expressions that the data label); label_order. Or, where weights and data do not fit each
    other, `error` with the reason and no figures.
    """
    tested, relation = split.metadata, relate(engine.card, split)
    cell: dict[str, Any] = {
        "trained_on": engine.card.provenance.get("dataset"),
        "dataset": tested.dataset,
        "split": tested.split,
        "same_dataset": relation.same_dataset,
        "same_dataset_because": relation.because,
        "faces_looked_up": relation.looked_up,
        "faces_trained_on": relation.trained_on,
        "error": None,
    }
    try:
        mapped = label_map(tested.labels, engine.card.labels)
        predictions = predict(engine, split, batch_size=batch_size)
    except ValueError as error:
        return {**cell, "error": str(error)}
    target = engine.card.labels.expressions
    known = [name in tested.labels.expressions for name in target]
    within = np.where(known, predictions.probabilities, -1).argmax(1)
    figures = figures_of(predictions)
    diagnosis = diagnose_labels(figures["confusion"], predictions.space)
    return {
        **cell,
        **{name: figures[name] for name in FIGURES},
        "interval": metric_intervals(predictions, resamples=resamples, seed=seed)["accuracy"],
        "label_map": {
            name: None if label is None else target[label]
            for name, label in zip(tested.labels.expressions, mapped, strict=True)
        },
        "dropped": predictions.dropped,
        "predicted_outside_labels": predicted_outside(predictions),
        "accuracy_within_labels": float((within == predictions.labels).mean()),
        "label_order": None if diagnosis is None else diagnosis.to_dict(),
    }


def write_cross(folder: str | Path, record: dict[str, Any]) -> None:
    """Write cross.md and cross.json into `folder`; OSError where the disk refuses."""
    write_whole(Path(folder, "cross.json"), json.dumps(record, indent=1) + "\n")
    write_whole(Path(folder, "cross.md"), cross_markdown(record))


def cross_markdown(record: dict[str, Any]) -> str:
    """The matrices of accuracy and mean class accuracy, then each cell's label map and what was left out.

    `record` has `weights` and `data`, lists of names, `cells`, each of `cross_cell` with its `weights` and `data`, and
    `with`, the descriptions of each weight file and split and of the machine.
    """
    cells = {(cell["weights"], cell["data"]): cell for cell in record["cells"]}
    text = "# Trained on one, tested on another\n"
    for key, title in (("accuracy", "Accuracy [95 %]"), ("mean_class_accuracy", "Mean class accuracy")):
        rows = [
            (
                f"{w} ({cells[w, record['data'][0]]['trained_on'] or 'unknown'})",
                *(_figure(cells[w, d], key) for d in record["data"]),
            )
            for w in record["weights"]
        ]
        text += f"\n## {title}\n\n{table(('weights (trained on)', *record['data']), rows)}"
    text += (
        "\n\\* tested on the dataset that the weights were trained on; ? this cannot be known. Each matrix's columns "
        "are different faces, and where weights know fewer expressions than others, so are its rows: the numbers of "
        "faces stand below.\n\n"
        "## Cells\n\n"
    )
    heads = ("weights", "data", "faces", "left out", "predicted outside the labels", "accuracy within the labels")
    rows = []
    for (w, d), cell in cells.items():
        if cell["error"] is not None:
            rows.append((w, d, "–", cell["error"], "–", "–"))
            continue
        left_out = ", ".join(f"{n:,} {name}" for name, n in cell["dropped"].items()) or "none"
        outside, within = cell["predicted_outside_labels"], cell["accuracy_within_labels"]
        rows.append((w, d, f"{cell['faces']:,}", left_out, f"{outside:,}", f"{within:.4f}"))
    text += table(heads, rows, left=2)
    text += "\n## Trained on the same dataset?\n\n"
    words = {True: "yes", None: "not known", False: "no"}
    for (w, d), cell in cells.items():
        text += f"- {w} on {d}: {words[cell['same_dataset']]}, {cell['same_dataset_because']}\n"
    text += "\n## Label maps\n\nExpression of the data -> expression of the weights, by name.\n\n"
    for (w, d), cell in cells.items():
        if cell["error"] is None:
            maps = ", ".join(f"{a} -> {b or 'left out'}" for a, b in cell["label_map"].items())
            text += f"- {d} -> {w}: {maps}\n"
            if cell["label_order"] is not None:
                text += f"  - **{cell['label_order']['sentence']}**\n"
    weights, data, machine = (record["with"][key] for key in ("weights", "data", "machine"))
    lines = [
        *(weights_line(name, described) for name, described in zip(record["weights"], weights, strict=True)),
        *(data_line(name, described) for name, described in zip(record["data"], data, strict=True)),
        machine_line(machine),
    ]
    return f"{text}\n## How it was measured\n\n{PASS}\n\n{bootstrap(record)}\n\n" + "".join(lines)


def _figure(cell: dict[str, Any], key: str) -> str:
    if cell["error"] is not None:
        return "does not fit"
    interval = f" {spread(cell['interval'])}" if key == "accuracy" else ""
    return f"{cell[key]:.4f}{MARKS[cell['same_dataset']]}{interval}"
