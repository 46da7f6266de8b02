"""The paper's ablation: no pooling, APP, ATP, both; accuracy with spread, cost and time, clean and under occlusion.

Trains each variant under each seed (runs that are complete are kept, begun ones go on), then measures all of them side
by side: on the whole validation split, under occlusion face by face, and over keep rates without retraining.

    python benchmarks/ablation/ablation.py --config configs/ferplus/ablation.yaml --seeds 0

writes ablation.json beside this file, prints the table and puts it into README.md. Hours on a CPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from apvit.cli.train import read_recipe
from apvit.data import open_split
from apvit.engines import Engine, Keep, create_engine
from apvit.evaluation import evaluate
from apvit.evaluation.predictions import predict
from apvit.evaluation.robustness import Bench, choose_corruptions, measure_curves
from apvit.machine import describe_machine
from apvit.nn import build_model, count_macs, read_config
from apvit.training import train_seeds

VARIANTS: dict[str, dict[str, Any]] = {
    "no pooling": {"patch_keep": None, "token_keep": None},
    "APP": {"token_keep": None},
    "ATP": {"patch_keep": None},
    "APP and ATP": {},
}
OCCLUSIONS = ("eyes", "mouth", "blocks")
KEEPS = ("1", "0.9", "0.82", "0.7", "0.6", "0.5", "0.4")
BATCHES = {1: 60, 32: 12}
"""Faces in a batch, and how many batches are timed; the variants take turns."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--occluded-faces", type=int, default=1000)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("ablation.json"))
    arguments, rest = parser.parse_known_args()
    recipe, given = read_recipe(rest)  # as `apvit train` reads it: --config, --seeds, any field
    recipe, seeds = replace(recipe, resume=True), given or [recipe.seed]

    folders = {}
    for name, changes in VARIANTS.items():
        folder = Path(recipe.output) / name.replace(" ", "-").lower()
        folders[name] = train_seeds(replace(recipe, model={**recipe.model, **changes}, output=str(folder)), seeds)

    valid = open_split(recipe.data, "valid")
    weights = {
        name: [folder / f"seed-{seed}" / "best.safetensors" for seed in seeds] for name, folder in folders.items()
    }
    engines = {name: create_engine(paths[0], "torch") for name, paths in weights.items()}
    bench = Bench.of(engines, valid)
    corruptions, _ = choose_corruptions(OCCLUSIONS, engines)
    occluded = measure_curves(bench, corruptions, faces=arguments.occluded_faces)
    result = {
        "data": {"name": valid.metadata.dataset, "split": "valid", "protocol": valid.metadata.protocol},
        "epochs": recipe.epochs,
        "seeds": seeds,
        "variants": [
            {"name": name, **accuracy(paths, valid), **cost(engines[name])} for name, paths in weights.items()
        ],
        "paired": paired(engines, valid),
        "milliseconds": milliseconds(engines),
        "occlusion": occluded,
        "keep": {name: keep_curve(weights[name][0], valid) for name in ("no pooling", "APP and ATP")},
        "environment": describe_machine(),
    }
    arguments.result.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    readme = arguments.result.with_name("README.md")
    if readme.is_file():
        readme.write_text(put_between(readme.read_text(), "table", table(result)))


def put_between(page: str, mark: str, text: str) -> str:
    """The page with `text` between <!-- mark --> and <!-- /mark -->."""
    start, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, rest = page.split(start)
    return f"{before}{start}\n{text}\n{end}{rest.split(end)[1]}"


def accuracy(paths: list[Path], valid: Any) -> dict[str, Any]:
    """Over the seeds: validation accuracy of each, mean, standard deviation; mean class accuracy and macro-F1."""
    figures = [evaluate(create_engine(path, "torch"), valid) for path in paths]
    values = [figure["accuracy"] for figure in figures]
    return {
        "accuracies": values,
        "accuracy": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "mean_class_accuracy": statistics.fmean(figure["mean_class_accuracy"] for figure in figures),
        "macro_f1": statistics.fmean(figure["macro_f1"] for figure in figures),
    }


def cost(engine: Engine) -> dict[str, Any]:
    config = read_config(engine.card.parameters)
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in build_model(config).parameters())
    return {
        "parameters": parameters,
        "gmac": count_macs(config).total / 1e9,
        "executed_gmac": count_macs(config, executed=True).total / 1e9,
        "patches": config.patch_count,
        "tokens": list(config.token_counts),
    }


def paired(engines: dict[str, Engine], valid: Any, resamples: int = 2000) -> list[dict[str, Any]]:
    """Of the first seed: accuracy of each variant minus that of the first, face by face, 95 % bootstrap interval."""
    right = {name: predict(engine, valid).correct for name, engine in engines.items()}
    random = np.random.default_rng(0)
    reference, *others = right
    count = len(right[reference])
    draws = random.integers(0, count, (resamples, count))
    rows = []
    for name in others:
        difference = right[name].astype(float) - right[reference]
        low, high = np.percentile(difference[draws].mean(1), (2.5, 97.5))
        rows.append({"name": name, "difference": float(difference.mean()), "low": float(low), "high": float(high)})
    return rows


def milliseconds(engines: dict[str, Engine]) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds per face on torch, by batch and variant: median and quartiles; the variants take turns."""
    random = np.random.default_rng(0)
    result: dict[str, dict[str, dict[str, float]]] = {}
    for batch, rounds in BATCHES.items():
        x = random.normal(size=(batch, 1, 48, 48)).astype(np.float32)
        times: dict[str, list[float]] = {name: [] for name in engines}
        for turn in range(rounds + 3):
            for name, engine in engines.items():
                start = time.perf_counter()
                engine.run(x)
                if turn >= 3:  # the first ones warm up
                    times[name].append((time.perf_counter() - start) * 1000 / batch)
        result[str(batch)] = {
            name: dict(zip(("low", "median", "high"), np.percentile(values, (25, 50, 75)).tolist(), strict=True))
            for name, values in times.items()
        }
    return result


def keep_curve(path: Path, valid: Any, keeps: Sequence[str] = KEEPS) -> list[dict[str, Any]]:
    """Accuracy over the share of patches kept, without retraining."""
    rows = []
    for text in keeps:
        engine = create_engine(path, "torch", keep=Keep.parse(text))
        rows.append({"keep": text, "accuracy": evaluate(engine, valid)["accuracy"], **cost(engine)})
    return rows


def table(result: dict[str, Any]) -> str:
    """The paper's table in Markdown."""
    seeds = result["seeds"]
    lines = [
        f"{result['data']['name']} {result['data']['split']} ({result['data']['protocol']}), {result['epochs']} "
        f"epochs, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}",
        "",
        "| variant | accuracy | against no pooling | occluded | GMAC (executed) | ms per face, batch 1 / 32 |",
        "|---|---|---|---|---|---|",
    ]
    differences = {row["name"]: row for row in result["paired"]}
    occluded = {row["name"]: row["damaged"] for row in result["occlusion"]["overall"]}
    for row in result["variants"]:
        name = row["name"]
        spread = "" if row["std"] is None else f" ± {row['std']:.4f}"
        d = differences.get(name)
        against = "" if d is None else f"{d['difference']:+.4f} [{d['low']:+.4f}, {d['high']:+.4f}]"
        times = " / ".join(f"{result['milliseconds'][batch][name]['median']:.2f}" for batch in ("1", "32"))
        lines.append(
            f"| {name} | {row['accuracy']:.4f}{spread} | {against} | {occluded[name]:.4f} "
            f"| {row['gmac']:.3f} ({row['executed_gmac']:.3f}) | {times} |"
        )
    parameters = sorted({row["parameters"] for row in result["variants"]})
    lines += ["", f"Parameters: {', '.join(f'{count:,}' for count in parameters)} (pooling has none)."]
    lines += ["", *occlusion_table(result["occlusion"]), "", *keep_table(result["keep"])]
    return "\n".join(lines)


def occlusion_table(occlusion: dict[str, Any]) -> list[str]:
    """Accuracy over the severities of each occlusion, and what differs from no pooling in points, paired."""
    first, *others = [row["name"] for row in occlusion["overall"]]
    lines = [f"| occluded, {occlusion['faces']:,} faces | {first} | " + " | ".join(others) + " |"]
    lines.append("|---" * (2 + len(others)) + "|")
    every = [(curve["title"], curve["results"]) for curve in occlusion["corruptions"]]
    for title, results in [*every, ("**all**", occlusion["overall"])]:
        cells = [f"{results[0]['damaged']:.4f}"]
        for row in results[1:]:
            difference, (low, high) = row["difference"]["damaged"], row["difference"]["damaged_interval"]
            cells.append(f"{row['damaged']:.4f}, {difference:+.4f} [{low:+.4f}, {high:+.4f}]")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def keep_table(keep: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Accuracy over the share of patches kept at inference, without retraining."""
    names = list(keep)
    lines = ["| patches kept at inference | " + " | ".join(f"trained with {name}" for name in names) + " |"]
    lines.append("|---" * (1 + len(names)) + "|")
    for rows in zip(*keep.values(), strict=True):
        cells = [f"{row['accuracy']:.4f}" for row in rows]
        lines.append(f"| {rows[0]['keep']} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
