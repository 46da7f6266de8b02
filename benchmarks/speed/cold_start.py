"""Seconds from the start of `apvit recognize one.jpg` to its answer, and what they go to, for every engine.

Each round starts every command twice in a fresh process: as a user would, timed from outside to its end, and with a
clock inside (cold_start_once.py) that splits the time to the answer. The files lie in the operating system's cache, as
from the second start on. The photograph is matplotlib's grace_hopper.jpg, with one face.

    python benchmarks/speed/cold_start.py

writes cold_start.json beside this file in about three minutes of two quiet cores.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.cbook import get_sample_data
from processes import run
from records import HERE, machine, options, spread, write_record
from subjects import installed_engines, workplace

from apvit.engines.export import export_onnx
from apvit.weights import find_weights

WEIGHTS = "apvit_tiny"
STAGES = (
    *("interpreter", "imports", "weights", "detector", "reading", "detection", "alignment", "classification"),
    "rest",
)
"""In the order they begin. weights, detector: files read, networks made; rest: options, the result's line."""
COMMAND = "from apvit.cli import main; main()"
SHOWN = 8
"""Packages named with the time that importing them took."""


def main() -> None:
    parser = options(__doc__, "cold_start")
    parser.add_argument("--rounds", type=int, default=9, help="fresh processes of each kind (default: 9)")
    arguments = parser.parse_args()
    made = machine()
    engines, missing = installed_engines()
    photo = str(get_sample_data("grace_hopper.jpg", asfileobj=False))
    with workplace(arguments.folder) as folder:
        exported = folder / f"{WEIGHTS}.onnx"
        if not exported.exists():
            export_onnx(find_weights(WEIGHTS), exported)
        calls = {name: command(name, exported, photo) for name in engines}
        rows = measure(calls, arguments.rounds)
        for row in rows:
            row["packages"] = imported_packages(calls[row["engine"]])
    record = {
        "what": "seconds from the start of the process to the answer by stage, and to the end of the process",
        "weights": WEIGHTS,
        "rounds": arguments.rounds,
        "rows": rows,
        "left_out": missing,
        "machine": made,
    }
    write_record(arguments.output, record)
    print(table(record))


def command(engine: str, exported: Path, photo: str) -> list[str]:
    """What follows `apvit`: the weight file for torch, the exported file for the others."""
    weights = WEIGHTS if engine == "torch" else str(exported)
    return ["recognize", photo, "--weights", weights, "--engine", engine, "--format", "jsonl"]


def measure(calls: Mapping[str, Sequence[str]], rounds: int) -> list[dict[str, Any]]:
    """A row for each engine; the first round, which fills the disk's cache and Python's, is not counted."""
    inside: dict[str, list[dict[str, Any]]] = {name: [] for name in calls}
    whole: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            start = time.monotonic()
            run([sys.executable, "-c", COMMAND, *call])
            ended = time.monotonic() - start
            found = json.loads(run([sys.executable, str(HERE / "cold_start_once.py"), str(time.monotonic()), *call]))
            if number:
                whole[name].append(ended)
                inside[name].append(found)
    return [
        {
            "engine": name,
            "seconds": {stage: spread([one["seconds"].get(stage, 0.0) for one in found]) for stage in STAGES},
            "answer": spread([sum(one["seconds"].values()) for one in found]),
            "end": spread(whole[name]),
            "modules": found[-1]["modules"],
            "loaded": found[-1]["loaded"],
        }
        for name, found in inside.items()
    ]


def imported_packages(call: Sequence[str]) -> dict[str, float]:
    """Seconds that importing each package took by itself, the longest first, as `python -X importtime` tells them."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", COMMAND, *call], capture_output=True, text=True, check=True
    )
    taken: Counter[str] = Counter()
    for line in done.stderr.splitlines():
        own, _, rest = line.removeprefix("import time:").partition("|")
        if line.startswith("import time:") and own.strip().isdigit():
            taken[rest.rpartition("|")[2].strip().partition(".")[0]] += int(own)
    return {name: microseconds / 1e6 for name, microseconds in taken.most_common(SHOWN)}


def table(record: Mapping[str, Any]) -> str:
    """The record for people: one column per engine."""
    rows = record["rows"]
    lines = ["| seconds, median (quartiles) | " + " | ".join(row["engine"] for row in rows) + " |"]
    lines.append("| --- |" + " --- |" * len(rows))
    for stage in STAGES:
        lines.append(f"| {stage} | " + " | ".join(_cell(row["seconds"][stage]) for row in rows) + " |")
    for name, key in (("**to the answer**", "answer"), ("to the end of the process", "end")):
        lines.append(f"| {name} | " + " | ".join(_cell(row[key]) for row in rows) + " |")
    lines.append(
        "| torch is imported | " + " | ".join("yes" if "torch" in row["loaded"] else "no" for row in rows) + " |"
    )
    lines.append("| modules loaded | " + " | ".join(str(row["modules"]) for row in rows) + " |")
    for row in rows:
        packages = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in row["packages"].items())
        lines.append(f"\n{row['engine']}, importing by package: {packages}")
    return "\n".join(lines)


def _cell(of: Mapping[str, float]) -> str:
    return f"{of['median']:.3f} ({of['low']:.3f} - {of['high']:.3f})"


if __name__ == "__main__":
    main()
