"""The report of one weight file on one split: JSON, Markdown, pictures and a table of faces in one folder."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from apvit.files import counted, write_figure, write_whole

from .drawings import draw_confusion, draw_reliability
from .groups import LEAST
from .markdown import PASS, bootstrap, data_line, machine_line, spread, table, weights_line
from .metrics import CALIBRATION_BINS
from .predictions import Predictions

HEADLINES = {
    "accuracy": "accuracy",
    "mean_class_accuracy": "mean class accuracy",
    "macro_f1": "macro-F1",
    "ece": "ECE",
}


def write_report(folder: str | Path, record: dict[str, Any], predictions: Predictions) -> None:
    """Write evaluation.md, evaluation.json, confusion.png, reliability.png and faces.csv into `folder`.

    `record` has what `examine` gives, and under `with` the descriptions of weights, data and machine and under
    `cautions` the sentences of `provenance`; `name` is what to call the weights. Raises OSError where the disk refuses,
    ImportError where matplotlib is missing.
    """
    folder = Path(folder)
    where = f"{record['name']} on {_where(record)}"
    write_figure(folder / "confusion.png", draw_confusion(record, where))
    write_figure(folder / "reliability.png", draw_reliability(record, where))
    write_whole(folder / "faces.csv", faces_csv(predictions))
    write_whole(folder / "evaluation.json", json.dumps(record, indent=1) + "\n")
    write_whole(folder / "evaluation.md", markdown(record))


def faces_csv(predictions: Predictions) -> str:
    """One line a face: source, label, predicted expression and all probabilities, for tests of one's own."""
    names = predictions.space.expressions
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["source", "label", "predicted", *names])
    columns = (predictions.sources, predictions.labels, predictions.predicted, predictions.probabilities)
    for source, label, said, row in zip(*columns, strict=True):
        writer.writerow([source, names[label], names[said], *(f"{p:.6f}" for p in row)])
    return text.getvalue()


def markdown(record: dict[str, Any]) -> str:
    """The report for people."""
    sections = (_headline, _cautions, _label_order, _shared, _per_class, _confusion, _calibration, _attributes, _method)
    return "\n".join(text for section in sections if (text := section(record)))


def _where(record: dict[str, Any]) -> str:
    data = record["with"]["data"]
    protocol = f", protocol {data['protocol']}" if data["protocol"] else ""
    return f"{data['dataset']} {data['split']}{protocol}"


def _headline(record: dict[str, Any]) -> str:
    intervals = record["intervals"]
    rows = [(title, f"{record[key]:.4f}", spread(intervals[key], 4)) for key, title in HEADLINES.items()]
    text = f"# {record['name']} on {_where(record)}\n\n{counted(record['faces'], 'face')}"
    if record["dropped"]:
        left_out = ", ".join(f"{n:,} {name}" for name, n in record["dropped"].items())
        text += f"; left out, as the weights have no such class: {left_out}"
    if record["predicted_outside_labels"]:
        text += (
            f"; {record['predicted_outside_labels']:,} predicted as an expression that the data do not label, "
            "all counted wrong"
        )
    if lost := record["with"]["data"]["counts"].get("left_out"):
        text += f"; {lost:,} more of the split are not here, because no face could be cut from their pictures"
    return f"{text}.\n\n{table(('figure', 'value', '95 % interval'), rows)}"


def _cautions(record: dict[str, Any]) -> str:
    return "".join(f"> {sentence}\n" for sentence in record["cautions"])


def _label_order(record: dict[str, Any]) -> str:
    found = record["label_order"]
    return "" if found is None else f"> **Label order.** {found['sentence'][0].upper()}{found['sentence'][1:]}\n"


def _shared(record: dict[str, Any]) -> str:
    shared = record["shared_faces"]
    text = "## Faces shared with other splits\n\n"
    if shared is None:
        return text + "Not looked for: there is no other prepared split beside this one.\n"
    counts = ", ".join(f"{n:,} also stand in {name}" for name, n in shared["shared"].items())
    text += f"Of the {record['faces']:,} faces, {counts} as prepared (faces are the same where they share a group).\n"
    source = {
        name.removeprefix("also_in_"): value["labelled"]
        for name, value in record["with"]["data"]["leaks"].items()
        if name.startswith("also_in_")
    }
    if source:
        counted = ", ".join(f"{n:,} labelled faces stand in {name}" for name, n in source.items())
        text += f"Before `apvit data prepare` dropped any, {counted} too.\n"
    if without := shared["without"]:
        rows = [
            (
                title,
                f"{record[key]:.4f}",
                spread(record["intervals"][key], 4),
                f"{without[key]:.4f}",
                spread(without["intervals"][key], 4),
            )
            for key, title in HEADLINES.items()
        ]
        heads = ("figure", f"all {record['faces']:,}", "95 %", f"without shared, {without['faces']:,}", "95 %")
        text += f"\n{table(heads, rows)}"
    return text


def _per_class(record: dict[str, Any]) -> str:
    rows = []
    for name, row in record["per_class"].items():
        if not row["faces"]:
            rows.append((name, "0", "–", "–", f"{row['precision']:.3f}", "–", "–"))
            continue
        intervals = record["intervals"]["per_class"][name]
        rows.append(
            (
                name,
                f"{row['faces']:,}",
                f"{row['recall']:.3f}",
                spread(intervals["recall"]),
                f"{row['precision']:.3f}",
                f"{row['f1']:.3f}",
                spread(intervals["f1"]),
            )
        )
    return f"## Per class\n\n{table(('expression', 'faces', 'recall', '95 %', 'precision', 'F1', '95 %'), rows)}"


def _confusion(record: dict[str, Any]) -> str:
    names = list(record["per_class"])
    rows = [(name, *(f"{n:,}" for n in row)) for name, row in zip(names, record["confusion"], strict=True)]
    heading = "## Confusion\n\nRows are labels, columns predictions, in faces.\n\n"
    return f"{heading}{table(('labelled', *names), rows)}\n![Confusion matrix](confusion.png)\n"


def _calibration(record: dict[str, Any]) -> str:
    return (
        f"## Calibration\n\nExpected calibration error of the predicted expression's probability over "
        f"{CALIBRATION_BINS} equal bins, at the card's temperature {record['with']['weights']['temperature']:.4g}: "
        f"{record['ece']:.4f} {spread(record['intervals']['ece'], 4)}.\n\n![Reliability](reliability.png)\n"
    )


def _attributes(record: dict[str, Any]) -> str:
    if not record["attributes"]:
        return ""
    text = "## Accuracy per group\n\nGroups as the dataset's annotators saw them.\n"
    for name, figures in record["attributes"].items():
        rows = [
            (
                value,
                f"{row['faces']:,}",
                f"{row['accuracy']:.3f}",
                spread(row["interval"]),
                f"{row['mean_class_accuracy']:.3f}",
            )
            for value, row in figures["values"].items()
        ]
        text += f"\n{table((name, 'faces', 'accuracy', '95 %', 'mean class accuracy'), rows)}"
        gap = figures["gap"]
        text += "\n" + (
            f"No gap is given: fewer than two groups have {LEAST} faces.\n"
            if gap is None
            else f"Largest gap among groups of at least {LEAST} faces: {gap['higher']} over {gap['lower']} by "
            f"{gap['difference']:.3f} {spread(gap['interval'])}.\n"
        )
    return text


def _method(record: dict[str, Any]) -> str:
    weights, data, machine = (record["with"][key] for key in ("weights", "data", "machine"))
    lines = weights_line(record["name"], weights) + data_line(data["dataset"], data) + machine_line(machine)
    return f"## How it was measured\n\n{PASS}\n\n{bootstrap(record)}\n\n{lines}"
