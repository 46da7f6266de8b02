"""Every engine against plain eager torch and against the official formulation: time, and share of the peak.

The bundled weights, and random ones of the architectures that have none (their time is what it would be; they
recognise nothing). All ways to run one weight file take turns on the same random faces, beside a float32 matrix
product [2048, 2048] whose best time stands for the processor's peak. Ratios are taken within rounds.

    python benchmarks/speed/engines.py

writes engines.json beside this file in about four minutes of two quiet cores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import peak
import torch
from records import machine, options, ratios, spread, write_record
from result_tables import engines_table, targets_table
from subjects import (
    COMPILED,
    OFFICIAL,
    PLAIN,
    Runner,
    Subject,
    find_subject,
    installed_engines,
    open_compiled,
    open_eager,
    open_engine,
    workplace,
)

from apvit.engines.timing import random_faces, take_turns
from apvit.weights import read_card

BATCHES = {"apvit_tiny": (1, 8, 32, 64), "apvit_small": (1, 8, 32), "apvit_base": (1, 8)}
COMPILES = "apvit_tiny"
"""The network that is measured under torch.compile too, which takes a minute before the first face."""

# What was to be reached on two cores: architecture, batch, quantity, whether it is an upper bound, figure, and where
# in a row it stands.
TARGETS: tuple[tuple[str, int, str, bool, float, Callable[[dict[str, Any]], float]], ...] = (
    ("apvit_base", 8, "times plain eager torch", False, 1.25, lambda row: row["times_plain"]["median"]),
    ("apvit_base", 8, "share of the peak by executed work", False, 0.85, lambda row: row["of_peak"]),
    ("apvit_tiny", 32, "faces per second", False, 200, lambda row: row["faces_per_second"]),
    ("apvit_tiny", 1, "ms per face", True, 5, lambda row: row["ms_per_face"]["median"]),
    ("apvit_tiny", 1, "times plain eager torch", False, 1.65, lambda row: row["times_plain"]["median"]),
)


def main() -> None:
    parser = options(__doc__, "engines", 1.0, "seconds for each engine and batch")
    parser.add_argument("--network", action="append", choices=BATCHES, help="only this; may be repeated")
    arguments = parser.parse_args()
    made = machine()  # before the measurement, which is load itself
    engines, missing = installed_engines()
    rows: list[dict[str, Any]] = []
    products: list[float] = []
    with workplace(arguments.folder) as folder:
        for name in arguments.network or BATCHES:
            subject = find_subject(name, folder)
            runners = [*open_eager(subject.weights), *(open_engine(subject.weights, engine) for engine in engines)]
            if name == COMPILES:
                try:
                    runners.append(open_compiled(subject.weights))
                except RuntimeError as error:
                    missing[COMPILED] = str(error).splitlines()[0]
            for batch in BATCHES[name]:
                taken = time_runners(subject, runners, batch, arguments.seconds)
                products += taken[peak.NAME]
                rows += summarise(subject, runners, batch, taken)
    record = finish(rows, products)
    write_record(
        arguments.output,
        {
            **record,
            "left_out": missing,
            "seconds": arguments.seconds,
            "threads": torch.get_num_threads(),
            "machine": made,
        },
    )
    print(engines_table(record))
    print()
    print(targets_table(record))


def time_runners(subject: Subject, runners: Sequence[Runner], batch: int, seconds: float) -> dict[str, list[float]]:
    """Seconds per call of each runner, and of the matrix product, in every round."""
    x = random_faces(read_card(subject.weights), batch)
    calls: dict[str, Callable[[], object]] = {one.name: partial(one.run, x) for one in runners}
    return take_turns({**calls, peak.NAME: peak.product()}, seconds)


def summarise(
    subject: Subject, runners: Sequence[Runner], batch: int, taken: Mapping[str, Sequence[float]]
) -> list[dict[str, Any]]:
    """A row for each runner, as JSON values; times are per face."""
    rows = []
    for one in runners:
        ms = spread([1000 * seconds / batch for seconds in taken[one.name]])
        rows.append(
            {
                "subject": subject.name,
                "random": subject.random,
                "batch": batch,
                "engine": one.name,
                "rounds": len(taken[one.name]),
                "ms_per_face": ms,
                "faces_per_second": 1000 / ms["median"],
                "times_official": ratios(taken[OFFICIAL], taken[one.name]),
                "times_plain": ratios(taken[PLAIN], taken[one.name]),
                "executed_macs": one.macs,
            }
        )
    return rows


def finish(rows: Sequence[dict[str, Any]], products: Sequence[float]) -> dict[str, Any]:
    """The rows with the share of the peak that each reached, the peak, and what was asked for."""
    peak_rate = peak.best_rate(products)
    shared = [{**row, "of_peak": row["executed_macs"] * row["faces_per_second"] / peak_rate} for row in rows]
    return {
        "rows": shared,
        "gemm_side": peak.SIDE,
        "peak_gflops": 2 * peak_rate / 1e9,
        "gemm_gflops": spread([2 * peak.best_rate([seconds]) / 1e9 for seconds in products]),
        "targets": targets(shared),
    }


def targets(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """TARGETS beside what the fastest engine reached; those whose case was measured."""

    def fastest(name: str, batch: int) -> dict[str, Any] | None:
        found = [row for row in rows if (row["subject"], row["batch"]) == (name, batch)]
        return max(found, key=lambda row: row["faces_per_second"], default=None)

    found = []
    for name, batch, what, at_most, wanted, measured in TARGETS:
        row = fastest(name, batch)
        if row is not None:
            value = measured(row)
            met = value <= wanted if at_most else value >= wanted
            asked = {"subject": name, "batch": batch, "what": what, "at_most": at_most, "wanted": wanted}
            found.append({**asked, "engine": row["engine"], "measured": value, "met": met})
    return found


if __name__ == "__main__":
    main()
