"""What the experiments of this folder share: faces, work in pieces, bootstrap, and where results are written."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from apvit.data import Split, open_split
from apvit.engines.torch_engine import TorchEngine
from apvit.evaluation.intervals import draws, percentile_interval
from apvit.evaluation.predictions import scored, weights_labels
from apvit.machine import commit, describe_machine
from apvit.weights import find_weights

PROJECT = Path(__file__).resolve().parents[2]
PIECE = 25
"""Faces measured together: some seconds' work, which is lost at most where a run is stopped."""
RESAMPLES = 2000

Arrays = dict[str, np.ndarray]
"""Measurements by name, the first axis counting faces."""


def arguments(description: str | None, given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="apvit_tiny", help="bundled name, path or hub reference")
    parser.add_argument("--data", type=Path, required=True, help="FER+, prepared or as its owners ship it")
    parser.add_argument("--faces", type=int, default=500, help="validation faces, drawn by the seed (500)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="stop after so long; the next run goes on where this one stopped")
    parser.add_argument("--output", type=Path, default=PROJECT, help="the project's folder, where results are written")
    cv2.setNumThreads(1)
    return parser.parse_args(given)


class Experiment:
    """The weights, the drawn validation faces, and what has been measured on them so far."""

    def __init__(self, given: argparse.Namespace, settings: dict[str, Any]):
        """settings: everything else that the measurements depend on, as JSON values."""
        self.given = given
        self.engine = TorchEngine(given.weights, device="cpu")
        self.split: Split = open_split(given.data, "valid")
        labelled = scored(weights_labels(self.engine.card, self.split), self.split)
        count = min(given.faces, len(labelled))
        # In the order they are drawn, so that a larger sample begins with a smaller one and need not measure it again.
        self.faces = np.random.default_rng(given.seed).permutation(labelled)[:count]
        self.about = {
            "weights": {
                "file": find_weights(given.weights).name,
                "sha256": hashlib.sha256(find_weights(given.weights).read_bytes()).hexdigest(),
                "architecture": self.engine.card.architecture,
            },
            "data": {
                "dataset": self.split.metadata.dataset,
                "split": self.split.metadata.split,
                "inputs": self.split.metadata.inputs,
            },
            "faces": count,
            "seed": given.seed,
            "settings": settings,
        }

    def measure(self, piece: Callable[[np.ndarray], Arrays]) -> Arrays | None:
        """`piece(indices)` of all faces, in pieces that outlast the process; None where the time was up before."""
        same = {name: value for name, value in self.about.items() if name != "faces"} | {"commit": commit()}
        key = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"apvit-explanation-{key}"
        folder.mkdir(exist_ok=True)
        start, pieces = time.monotonic(), []
        for first in range(0, len(self.faces), PIECE):
            indices = self.faces[first : first + PIECE]
            file = folder / f"{first}-{len(indices)}.npz"
            if not file.is_file():
                if self.given.seconds is not None and time.monotonic() - start > self.given.seconds:
                    print(f"{first} of {len(self.faces)} faces done; run again to go on", file=sys.stderr)
                    return None
                measured = piece(indices)
                partial = file.with_suffix(".partial.npz")
                np.savez(partial, **measured)
                os.replace(partial, file)
                print(f"\r{first + len(indices)} faces, {time.monotonic() - start:.0f} s", end="", file=sys.stderr)
            with np.load(file) as stored:
                pieces.append(dict(stored))
        print(file=sys.stderr)
        return {name: np.concatenate([one[name] for one in pieces]) for name in pieces[0]}

    def draws(self) -> np.ndarray:
        """[RESAMPLES, n] how often each face is drawn; the faces are no near copies, so each is drawn by itself."""
        return np.stack(list(draws(len(self.faces), RESAMPLES, self.given.seed)))

    def write(self, name: str, results: dict[str, Any]) -> dict[str, Any]:
        """Write benchmarks/explanation/`name`.json and return what it holds."""
        record = {**self.about, "environment": {**describe_machine(), "threads": torch.get_num_threads()}, **results}
        path = self.given.output / "benchmarks/explanation" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(record, indent=1, allow_nan=False) + "\n")
        return record


def interval(samples: np.ndarray, value: float) -> dict[str, float]:
    """A figure with its 95 % interval from resamples [R]; NaN, where nothing of a kind was drawn, is left out."""
    low, high = percentile_interval(samples[~np.isnan(samples)])
    return {"mean": float(value), "low": float(low), "high": float(high)}


def replace_file(path: Path, text: str) -> None:
    """`text` appears under `path` complete or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)


def put_between_markers(path: Path, script: str, block: str) -> None:
    """Replace what stands in `path` between the markers of `script`; SystemExit unless each stands there once."""
    begin, end = f"<!-- figures: written by {script} -->", f"<!-- end of {script} -->"
    text = path.read_text()
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        sys.exit(f"{path} must have the lines {begin} and {end}, once each and in this order")
    before, _, rest = text.partition(begin)
    replace_file(path, f"{before}{begin}\n{block}\n{end}{rest.partition(end)[2]}")


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_interval(value: dict[str, float], digits: int = 3, *, sign: bool = False, unit: float = 1) -> str:
    """ "0.412 (0.398 to 0.425)"."""
    form = f"{{:{'+' if sign else ''}.{digits}f}}"
    mean, low, high = (form.format(unit * value[name]).replace("-", "−") for name in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def measured_on(record: dict[str, Any]) -> str:
    """One sentence: what, when, where."""
    made, weights = record["environment"], record["weights"]
    return (
        f"`{weights['file']}` (SHA-256 {weights['sha256'][:12]}...), {record['faces']} FER+ validation faces drawn by "
        f"seed {record['seed']}, {made['date'][:10]}, {made['processor']}. Intervals are 95 % bootstraps over faces."
    )
