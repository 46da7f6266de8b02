"""Pooling on against off at equal weights, in every engine: does the promised compute arrive as time?

    python benchmarks/speed/pooling.py

writes pooling.json beside this file in about four minutes of two quiet cores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from records import machine, options, spread, write_record
from result_tables import pooling_table
from subjects import (
    OFFICIAL,
    Runner,
    Subject,
    find_subject,
    installed_engines,
    no_pooling,
    open_eager,
    open_engine,
    workplace,
)

from apvit.engines.timing import random_faces, take_turns
from apvit.weights import read_card

BATCHES = {"apvit_tiny": (1, 32), "apvit_small": (1, 8), "apvit_base": (1, 4)}


def main() -> None:
    parser = options(__doc__, "pooling", 1.0, "seconds for each engine, batch, and pooling on or off")
    parser.add_argument("--network", action="append", choices=BATCHES, help="only this; may be repeated")
    arguments = parser.parse_args()
    made = machine()
    engines, missing = installed_engines()
    rows: list[dict[str, Any]] = []
    with workplace(arguments.folder) as folder:
        for name in arguments.network or BATCHES:
            subject = find_subject(name, folder)
            on, off = open_both(subject, engines)
            for batch in BATCHES[name]:
                rows += summarise(subject, on, off, batch, time_both(subject, on, off, batch, arguments.seconds))
    record = {"rows": rows, "left_out": missing, "seconds": arguments.seconds, "threads": torch.get_num_threads()}
    write_record(arguments.output, {**record, "machine": made})
    print(pooling_table(record))


def open_both(subject: Subject, engines: Sequence[str]) -> tuple[list[Runner], list[Runner]]:
    """Every way to run the weights, as their card says, and keeping everything."""
    settings = (None, no_pooling(subject.weights))
    on, off = (
        [open_eager(subject.weights, keep)[0], *(open_engine(subject.weights, engine, keep) for engine in engines)]
        for keep in settings
    )
    return on, off


def time_both(
    subject: Subject, on: Sequence[Runner], off: Sequence[Runner], batch: int, seconds: float
) -> dict[str, list[float]]:
    """Seconds per call in every round, under "NAME on" and "NAME off"; each pair is measured next to each other."""
    x = random_faces(read_card(subject.weights), batch)
    calls: dict[str, Callable[[], object]] = {}
    for with_pooling, without in zip(on, off, strict=True):
        calls[f"{with_pooling.name} on"] = partial(with_pooling.run, x)
        calls[f"{without.name} off"] = partial(without.run, x)
    return take_turns(calls, seconds)


def summarise(
    subject: Subject, on: Sequence[Runner], off: Sequence[Runner], batch: int, taken: Mapping[str, Sequence[float]]
) -> list[dict[str, Any]]:
    """A row for each engine, as JSON values: the share of time saved beside the share of compute."""
    rows = []
    for with_pooling, without in zip(on, off, strict=True):
        fast, slow = taken[f"{with_pooling.name} on"], taken[f"{without.name} off"]
        rows.append(
            {
                "subject": subject.name,
                "random": subject.random,
                "batch": batch,
                "engine": with_pooling.name,
                "rounds": len(fast),
                "ms_per_face_on": spread([1000 * seconds / batch for seconds in fast]),
                "ms_per_face_off": spread([1000 * seconds / batch for seconds in slow]),
                "time_saved": spread([1 - a / b for a, b in zip(fast, slow, strict=True)]),
                "compute_saved": 1 - with_pooling.macs / without.macs,
                "counted": "every token in every block" if with_pooling.name == OFFICIAL else "executed",
            }
        )
    return rows


if __name__ == "__main__":
    main()
