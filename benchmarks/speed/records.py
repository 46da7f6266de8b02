"""What every script here takes and leaves: a budget, a result file that says where it was made, a table to read."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from apvit.engines.timing import Spread
from apvit.machine import describe_machine

HERE = Path(__file__).parent


def options(doc: str | None, name: str, seconds: float | None = None, meaning: str = "") -> argparse.ArgumentParser:
    """The command line that all scripts share; `seconds` is the default budget if there is one, `meaning` what of."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if seconds is not None:
        parser.add_argument("--seconds", type=float, default=seconds, help=f"{meaning} (default: {seconds:g})")
    parser.add_argument("--folder", type=Path, help="keep random weights and exports here, for the next script too")
    parser.add_argument("--output", type=Path, default=HERE / f"{name}.json", help="the result file")
    return parser


def machine() -> dict[str, Any]:
    """Date, command, commit, processor, cores, memory, load, threads and versions, as JSON values."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {**describe_machine(), "memory_gib": round(memory / 2**30, 1)}


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a result file, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles, as JSON values."""
    of = Spread.of(values)
    return {"median": of.median, "low": of.low, "high": of.high}


def ratios(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """The spread of above / below within each round."""
    return spread([a / b for a, b in zip(above, below, strict=True)])
