"""The robustness report: JSON, Markdown and the picture of curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from apvit.files import write_figure, write_whole

from .drawings import draw_curves, draw_differences
from .markdown import PASS, bootstrap, data_line, machine_line, signed, spread, table, weights_line


def write_robustness(folder: str | Path, record: dict[str, Any]) -> None:
    """Write robustness.md and robustness.json into `folder`, and pictures where there are curves.

    robustness.png shows the curves, differences.png those of several weights against the first.

    `record` has `weights` (a list of dicts with name), `data`, `with` (weights, data, machine), `curves` (of
    `measure_curves`, or None), `skipped` and `lists` (of `measure_lists`). Raises OSError where the disk refuses,
    ImportError where matplotlib is missing.
    """
    folder = Path(folder)
    if record["curves"] is not None:
        title = f"{_where(record)}, {record['curves']['faces']:,} faces"
        names = [entry["name"] for entry in record["weights"]]
        panels = record["curves"]["corruptions"]
        write_figure(folder / "robustness.png", draw_curves(panels, names, title))
        if len(names) > 1:
            write_figure(folder / "differences.png", draw_differences(panels, names, title))
    write_whole(folder / "robustness.json", json.dumps(record, indent=1) + "\n")
    write_whole(folder / "robustness.md", robustness_markdown(record))


def robustness_markdown(record: dict[str, Any]) -> str:
    """The report for people."""
    sections = (_head, _overall, _corruptions, _lists, _method)
    return "\n".join(text for section in sections if (text := section(record)))


def _where(record: dict[str, Any]) -> str:
    return f"{record['with']['data']['dataset']} {record['with']['data']['split']}"


def _head(record: dict[str, Any]) -> str:
    names = ", ".join(entry["name"] for entry in record["weights"])
    return f"# Robustness of {names} on {_where(record)}\n"


def _overall(record: dict[str, Any]) -> str:
    curves = record["curves"]
    if curves is None:
        return ""
    clean = {r["name"]: (r["accuracy"][0], r["low"][0], r["high"][0]) for r in curves["corruptions"][0]["results"]}
    text = (
        f"## Synthetic damage\n\n{curves['faces']:,} faces. Damaged is the mean accuracy over five severities"
        f" and {len(curves['corruptions'])} kinds of damage, drop what that is below clean. Always naming the commonest"
        f" expression would be right on {curves['commonest']:.3f}.\n\n"
    )
    rows = []
    for row in curves["overall"]:
        at, low, high = clean[row["name"]]
        cells = [row["name"], f"{at:.3f} {spread((low, high))}", _value(row, "damaged"), _value(row, "drop")]
        rows.append([*cells, *_differences(record, row)])
    text += table(("weights", "clean [95 %]", "damaged [95 %]", "drop [95 %]", *_difference_heads(record)), rows)
    for name, reason in record["skipped"].items():
        text += f"\nNot measured: {name}, as {reason}.\n"
    text += "\n![Accuracy over severity](robustness.png)\n"
    if len(record["weights"]) > 1:
        text += "\n![Difference to the first weights](differences.png)\n"
    return text


def _corruptions(record: dict[str, Any]) -> str:
    if record["curves"] is None:
        return ""
    text = "## Each kind of damage\n"
    for panel in record["curves"]["corruptions"]:
        levels = [f"{level:g}" for level in panel["levels"][1:]]
        rows = []
        for row in panel["results"]:
            rows.append(
                [row["name"], *(f"{a:.3f}" for a in row["accuracy"]), _value(row, "drop"), *_differences(record, row)]
            )
        heads = ("weights", "clean", *levels, "drop [95 %]", *_difference_heads(record))
        text += f"\n### {panel['title']} ({panel['unit']})\n\n{table(heads, rows)}"
    return text


def _lists(record: dict[str, Any]) -> str:
    if not record["lists"]:
        return ""
    text = "## Lists of the literature\n"
    for found in record["lists"]:
        text += (
            f"\n### {Path(found['file']).name}\n\n{found['lines']:,} lines, {found['repeated']:,} of them repeated; "
            f"{found['found']:,} found, {found['missing']:,} not; {found['scored']:,} scored.\n"
        )
        notes = list(found["warnings"])
        if found["missing"]:
            more = " ..." if found["missing"] > len(found["missing_names"]) else ""
            notes.append(
                f"not found: {', '.join(found['missing_names'])}{more}; the figures are not those of the whole list"
            )
        if found["unlabelled"]:
            notes.append(f"{found['unlabelled']:,} found faces have no label in the data and are not scored")
        if found["disagreements"]:
            more = " ..." if found["disagreements"] > len(found["disagreements_named"]) else ""
            notes.append(
                f"the list labels {found['disagreements']:,} faces otherwise than the data, whose labels count: "
                f"{'; '.join(found['disagreements_named'])}{more}"
            )
        text += "".join(f"\n> {note[0].upper()}{note[1:]}.\n" for note in notes)
        rows = []
        for row in found["results"]:
            rest = row["rest"]["accuracy"]
            cells = [
                row["name"],
                f"{row['accuracy']:.4f}",
                spread(row["interval"]),
                "–" if rest is None else f"{rest:.4f}",
            ]
            if len(record["weights"]) > 1:
                gap = row["difference"]
                cells.append("–" if gap is None else f"{gap['accuracy']:+.4f} {signed(gap['interval'])}")
            rows.append(cells)
        heads = ["weights", "accuracy", "95 %", "on all other faces"]
        if len(record["weights"]) > 1:
            heads.append(f"difference to {record['weights'][0]['name']} [95 %]")
        text += f"\n{table(heads, rows)}"
        kinds = list(found["results"][0]["by_kind"])
        if kinds:
            rows = [
                [kind, f"{found['results'][0]['by_kind'][kind]['faces']:,}"]
                + [f"{row['by_kind'][kind]['accuracy']:.3f}" for row in found["results"]]
                for kind in kinds
            ]
            heads = ["type of occlusion", "faces", *(row["name"] for row in found["results"])]
            text += f"\nBy the list's types, whose meaning its authors do not give:\n\n{table(heads, rows)}"
    return text


def _method(record: dict[str, Any]) -> str:
    weights, data, machine = (record["with"][key] for key in ("weights", "data", "machine"))
    names = [entry["name"] for entry in record["weights"]]
    lines = "".join(weights_line(name, described) for name, described in zip(names, weights, strict=True))
    lines += data_line(data["dataset"], data) + machine_line(machine)
    return (
        "## How it was measured\n\n"
        "The aligned faces are damaged before normalisation, all weights seeing the same damage; eyes and mouth lie "
        "where the alignment template of the card puts them, and mid-grey covers them. Differences are paired, face "
        f"by face.\n\n{PASS}\n\n{bootstrap(record)}\n\n{lines}"
    )


def _value(row: dict[str, Any], key: str) -> str:
    return f"{row[key]:.3f} {spread(row[f'{key}_interval'])}"


def _difference_heads(record: dict[str, Any]) -> list[str]:
    if len(record["weights"]) < 2:
        return []
    return [f"damaged, to {record['weights'][0]['name']}", f"drop, to {record['weights'][0]['name']}"]


def _differences(record: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """Cells under `_difference_heads`: dashes for the first weights."""
    gap = row["difference"]
    if len(record["weights"]) < 2:
        return []
    if gap is None:
        return ["–", "–"]
    return [f"{gap[key]:+.3f} {signed(gap[f'{key}_interval'])}" for key in ("damaged", "drop")]
