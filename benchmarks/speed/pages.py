"""The result files of this folder as parts of pages, for `benchmarks/figures.py`, which puts them between markers."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from speed.result_tables import (
    digits,
    engines_table,
    growth_table,
    memory_table,
    peers_table,
    percent,
    pooling_table,
    provenance,
    table,
    targets_table,
)

Record = Mapping[str, Any]
Results = Mapping[str, Record]

HERE = Path(__file__).parent
NAMES = ("engines", "pooling", "growth", "peers", "memory", "cold_start", "folder", "video")
NOT_YET = "Not measured yet."
BASELINES = ("official, eager", "ours, eager")
WAYS = {"torch": "torch", "torch, compiled": "torch, compiled", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}


def read_results(folder: Path) -> dict[str, Record]:
    """The result files that are there, by name."""
    paths = {name: folder / f"{name}.json" for name in NAMES}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.is_file()}


def every_table(results: Results) -> str:
    """All figures, for benchmarks/speed/README.md."""
    parts = []
    if "engines" in results:
        record = results["engines"]
        parts += ["## Engines", provenance(record), engines_table(record), "What was asked for:", targets_table(record)]
    if "pooling" in results:
        record = results["pooling"]
        parts += ["## Pooling on against off", provenance(record), pooling_table(record)]
    if "growth" in results:
        record = results["growth"]
        picture = "![Cost against batch, input size, keep rate, depth and faces per picture](growth.png)"
        parts += ["## Growth", provenance(record), picture, growth_table(record)]
    if "peers" in results:
        record = results["peers"]
        parts += ["## Other programs", provenance(record), peers_table(record), _detail_of_peers(record)]
    if "memory" in results:
        record = results["memory"]
        parts += ["## Memory", provenance(record), memory_table(record)]
    for name, title in (("cold_start", "Cold start"), ("folder", "A folder from end to end"), ("video", "Video")):
        if name in results:
            parts += [f"## {title}", provenance(results[name]), _own_table(name, results[name])]
    return "\n\n".join(parts) or NOT_YET


def for_users(results: Results) -> str:
    """What to choose and what it costs, for docs/speed.md."""
    parts = []
    if "engines" in results:
        parts += [f"Measured on {provenance(results['engines'])}", _choice(results["engines"])]
    if "pooling" in results:
        parts += ["## What pooling saves", _saved(results["pooling"])]
    if "growth" in results:
        parts += [
            "## How cost grows",
            "For `apvit_tiny`; x is what the first column names, lines in the picture are these fits.",
            growth_table(results["growth"]),
            "![Cost against batch, input size, keep rate, depth and faces per picture](benchmarks/speed/growth.png)",
        ]
    if "peers" in results:
        parts += ["## Beside another program", _detail_of_peers(results["peers"]), peers_table(results["peers"])]
    if "memory" in results:
        parts += ["## Memory", memory_table(results["memory"])]
    return "\n\n".join(parts) or NOT_YET


def in_two_lines(results: Results) -> str | None:
    """What it means for a user, for README.md; None where `apvit_tiny` was not measured."""
    if "engines" not in results:
        return None
    rows, made = results["engines"]["rows"], results["engines"]["machine"]
    one, many = (_fastest(rows, "apvit_tiny", batch) for batch in (1, 32))
    if one is None or many is None:
        return None
    text = (
        f"**Speed** ([what to choose](docs/speed.md), [how it was measured](benchmarks/speed/README.md)): on "
        f"{made['cores']} cores of an {made['processor']}, `apvit_tiny` names {digits(many['faces_per_second'])} faces "
        f"per second ({WAYS[many['engine']]}), a single one in {digits(one['ms_per_face']['median'])} ms "
        f"({WAYS[one['engine']]})"
    )
    if (base := _fastest(rows, "apvit_base", 8)) is not None:
        text += (
            f"; the paper's model takes {digits(base['ms_per_face']['median'])} ms per face, "
            f"{base['times_official']['median']:.2f} times as fast as its official formulation on the same machine"
        )
    return text + "."


def _choice(record: Record) -> str:
    """A row for each network and engine, alone and in large batches."""
    rows = []
    by = {(row["subject"], row["batch"], row["engine"]): row for row in record["rows"]}
    for name in dict.fromkeys(row["subject"] for row in record["rows"]):
        own = [row for row in record["rows"] if row["subject"] == name]
        batches = [row["batch"] for row in own]
        few, many = min(batches), max(batches)
        for engine in dict.fromkeys(row["engine"] for row in own if row["engine"] not in BASELINES):
            alone, together = by[name, few, engine], by[name, many, engine]
            rows.append(
                [
                    f"`{name}`",
                    WAYS[engine],
                    digits(alone["ms_per_face"]["median"]),
                    f"{digits(together['ms_per_face']['median'])} ({many} at once)",
                    digits(together["faces_per_second"]),
                    f"{together['times_official']['median']:.2f}",
                ]
            )
    headings = ("network", "engine", "ms, one face", "ms per face, many", "faces/s", "times the official formulation")
    note = (
        "The network alone, without finding faces. Networks without bundled weights were measured with random ones: "
        "their time is the same, and they recognise nothing."
    )
    return f"{table(headings, rows)}\n\n{note}"


def _saved(record: Record) -> str:
    rows = [
        [
            f"`{row['subject']}`",
            str(row["batch"]),
            WAYS.get(row["engine"], "the official formulation"),
            percent(row["compute_saved"]),
            percent(row["time_saved"]["median"]),
        ]
        for row in record["rows"]
    ]
    return table(("network", "faces at once", "run by", "compute saved", "time saved"), rows)


def _detail_of_peers(record: Record) -> str:
    pictures = ", ".join(f"{name} ({faces})" for name, faces in record["true_faces"].items())
    versions = ", ".join(f"{name} {version}" for name, version in record["fer"].items())
    left_out = "; ".join(f"{name}: {reason}" for name, reason in record["left_out"].items())
    failed = "; ".join(f"{one['name']}: {one['reason']}" for one in record["contenders"] if "reason" in one)
    return (
        f"Whole programs, one picture after the other, from the file to the names: {pictures} faces. "
        f"{f'With {versions}. ' if versions else ''}{f'Does not run here: {failed}. ' if failed else ''}"
        f"Not measured: {left_out}."
    )


def _own_table(name: str, record: Record) -> str:
    """The table as the script itself prints it; its imports are those of a script, which finds its neighbours."""
    sys.path.insert(0, str(HERE))
    try:
        text: str = import_module(name).table(record)
    finally:
        sys.path.remove(str(HERE))
    return text


def _fastest(rows: list[Record], name: str, batch: int) -> Record | None:
    found = [row for row in rows if (row["subject"], row["batch"]) == (name, batch) and row["engine"] not in BASELINES]
    return max(found, key=lambda row: row["faces_per_second"], default=None)
