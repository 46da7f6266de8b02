"""Peak memory of every way to run a network, and of `apvit recognize`, each in a fresh process.

Memory hardly varies from run to run, so that every case runs once.

    python benchmarks/speed/memory.py

writes memory.json beside this file in about a minute of two quiet cores.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peers import write_pictures
from processes import run
from records import HERE, machine, options, write_record
from result_tables import memory_table
from subjects import ENGINES, find_subject, installed_engines, open_engine, workplace

from apvit.engines.cache import export_path

BATCHES = {"apvit_tiny": 32, "apvit_small": 32, "apvit_base": 8}
COPIES = 16


def main() -> None:
    arguments = options(__doc__, "memory").parse_args()
    made = machine()
    engines, missing = installed_engines()
    with workplace(arguments.folder) as folder:
        rows = [*floor(), *networks(folder, engines), *commands(folder, engines)]
    record = {"rows": rows, "left_out": missing, "machine": made}
    write_record(arguments.output, record)
    print(memory_table(record))


def floor() -> list[dict[str, Any]]:
    """What is paid before anything runs."""
    return [measure("Python alone", "nothing"), measure("Python, torch imported", "torch")]


def networks(folder: Path, engines: Sequence[str]) -> list[dict[str, Any]]:
    """Each network on each engine, and as the two baselines."""
    rows = []
    for name, batch in BATCHES.items():
        subject = find_subject(name, folder)
        for way in ("official", "eager", *engines):
            label = {"official": "official formulation", "eager": "our module"}.get(way, way)
            rows.append(
                measure(f"{name}, batch {batch}: {label}", "network", weights(subject.weights, way), way, str(batch))
            )
    return rows


def commands(folder: Path, engines: Sequence[str]) -> list[dict[str, Any]]:
    """`apvit recognize` of one photograph, and of a folder of many."""
    many = folder / "many"
    many.mkdir(exist_ok=True)
    pictures = [path for path, _ in write_pictures(folder)]
    for number in range(COPIES):
        for path in pictures:
            shutil.copy(path, many / f"{number}-{path.name}")
    subject = find_subject("apvit_tiny", folder)
    rows = []
    for engine in engines:
        use = ("recognize", "--weights", weights(subject.weights, engine), "--engine", engine, "--format", "jsonl")
        rows.append(measure(f"apvit recognize astronaut.png: {engine}", "apvit", *use, str(pictures[0])))
        rows.append(measure(f"apvit recognize {COPIES * len(pictures)} pictures: {engine}", "apvit", *use, str(many)))
    return rows


def weights(path: Path, way: str) -> str:
    """The file that is run this way: the weight file itself, or its export."""
    if way in ENGINES and way != "torch":
        open_engine(path, way)  # exports it where that is needed
        return str(export_path(path))
    return str(path)


def measure(what: str, *arguments: str) -> dict[str, Any]:
    """The peak of a fresh process, in MiB."""
    report = json.loads(run([sys.executable, str(HERE / "memory_of.py"), *arguments]))
    return {"what": what, "peak_mib": report["peak_bytes"] / 2**20}


if __name__ == "__main__":
    main()
