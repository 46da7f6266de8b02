"""One recipe under several seeds: mean and spread, because one run is an anecdote."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .export import FIGURES
from .folder import TrainingError, last_checkpoint, write_text
from .processes import this_process
from .recipe import Recipe
from .run import train


def train_seeds(recipe: Recipe, seeds: Sequence[int]) -> Path:
    """Train `recipe` under each of `seeds`, one after the other, into `recipe.output`/seed-N; returns the folder.

    Writes seeds.json: the seeds, and for "best", "last" and "test" (where it was read) the mean, sample standard
    deviation, smallest and largest of each figure. With `recipe.resume` runs that are complete stay as they are, begun
    ones go on, and the others start. Raises TrainingError for no seed or one that stands twice; else as `train`.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise TrainingError(f"seeds must be different numbers, at least one, got {list(seeds)}")
    folder = Path(recipe.output)
    summaries: list[dict[str, Any]] = []
    for seed in seeds:
        run = folder / f"seed-{seed}"
        if not (recipe.resume and _complete(run, recipe)):
            begun = last_checkpoint(run).is_file()
            train(replace(recipe, seed=seed, output=str(run), resume=recipe.resume and begun))
        if this_process().is_first:
            summaries.append(json.loads((run / "summary.json").read_text()))
    if this_process().is_first:
        together = {"seeds": list(seeds), "select": recipe.select, **spreads(summaries)}
        write_text(folder / "seeds.json", json.dumps(together, indent=1) + "\n")
        print(describe_seeds(together), file=sys.stderr)
    return folder


def spreads(summaries: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """{"best": {figure: {"mean", "std", "min", "max"}}, "last": ..., "test": ...} over the summaries of several runs.

    std is the sample standard deviation, None for a single run.
    """
    return {
        what: {name: _spread([summary[what][name] for summary in summaries]) for name in FIGURES}
        for what in ("best", "last", "test")
        if all(what in summary for summary in summaries)
    }


def describe_seeds(together: dict[str, Any]) -> str:
    """seeds.json in sentences, one a line."""
    lines = [f"{len(together['seeds'])} seeds, mean ± sample standard deviation (smallest to largest):"]
    for what, split in (("best", together["select"]), ("last", together["select"]), ("test", "test")):
        for name in ("accuracy", "mean_class_accuracy", "macro_f1") if what in together else ():
            s = together[what][name]
            spread = "" if s["std"] is None else f" ± {s['std']:.4f}"
            epoch = "best" if what == "test" else what
            lines.append(
                f"  {epoch} epoch on {split}, {name.replace('_', ' ')}: {s['mean']:.4f}{spread} "
                f"({s['min']:.4f} to {s['max']:.4f})"
            )
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "min": min(values),
        "max": max(values),
    }


def _complete(run: Path, recipe: Recipe) -> bool:
    try:
        return bool(json.loads((run / "summary.json").read_text())["epochs"] >= recipe.epochs)
    except (OSError, ValueError, KeyError):
        return False
