"""Accuracy over the share of patches that APP keeps: trained so, and turned there without retraining.

Trains the recipe once at each keep rate and under each seed (runs that are complete are kept, begun ones go on), then
measures on the validation split, at every rate:

- trained: the network that was trained at this rate;
- turned: the network that was trained at the usual rate (--turned), of the same recipe and seed, turned by the dial;
- shipped: the bundled weights (--weights), turned by the dial. They learnt longer, so it is their fall that compares.

What retraining gains is trained less turned, paired face by face. ATP stays as the recipe has it.

    python benchmarks/ablation/keep_rates.py --config configs/ferplus/ablation.yaml --seeds 0

takes further options as `apvit train` does (--optimizer muon; --init, to tune other weights to each rate), writes
keep_rates.json and keep_rates.png beside this file, and puts the table into README.md. The same command goes on where
it was stopped. Hours on a CPU.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ablation import accuracy, cost, keep_curve, milliseconds, paired, put_between
from apvit.cli.train import read_recipe
from apvit.data import open_split
from apvit.engines import Keep, create_engine
from apvit.evaluation.drawings import BLUE, GREEN, VERMILION, new_figure
from apvit.files import write_figure, write_whole
from apvit.machine import describe_machine
from apvit.training import train_seeds
from apvit.weights import find_weights

KEEPS = "1,0.82,0.6,0.4,0.2"
USUAL = "0.82"
"""apvit_tiny keeps 118 of 144 patches."""


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keeps", default=KEEPS, help="keep rates to train and measure at; 1 switches APP off")
    parser.add_argument("--turned", default=USUAL, help="the rate of those at which a network is turned to all others")
    parser.add_argument("--weights", default="apvit_tiny", help="weights to turn: bundled name, path or hub reference")
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("keep_rates.json"))
    arguments, rest = parser.parse_known_args(given)
    recipe, seeds_given = read_recipe(rest)  # as `apvit train` reads it: --config, --seeds, any field
    recipe, seeds = replace(recipe, resume=True), seeds_given or [recipe.seed]
    keeps = arguments.keeps.split(",")
    if arguments.turned not in keeps:
        parser.error(f"--turned {arguments.turned} must be one of --keeps {arguments.keeps}")
    settings = {keep: Keep.parse(keep) for keep in keeps}  # refuses before hours of training
    if with_tokens := [keep for keep, setting in settings.items() if setting.tokens is not None]:
        parser.error(f"--keeps {with_tokens[0]}: ATP stays as the recipe has it, so give the patches alone")

    weights = {}
    for keep, setting in settings.items():
        model = {**recipe.model, "patch_keep": setting.patches}
        folder = train_seeds(replace(recipe, model=model, output=f"{recipe.output}/keep-{keep}"), seeds)
        weights[keep] = [folder / f"seed-{seed}" / "best.safetensors" for seed in seeds]

    valid = open_split(recipe.data, "valid")
    shipped = find_weights(arguments.weights)
    result = {
        "data": {"name": valid.metadata.dataset, "split": "valid", "protocol": valid.metadata.protocol},
        "epochs": recipe.epochs,
        "init": recipe.init,
        "seeds": seeds,
        "turned_from": arguments.turned,
        "weights": {"file": shipped.name, "sha256": hashlib.sha256(shipped.read_bytes()).hexdigest()},
        "rates": measure(weights, arguments.turned, shipped, valid),
        "milliseconds": milliseconds({keep: create_engine(paths[0], "torch") for keep, paths in weights.items()}),
        "environment": describe_machine(),
    }
    write_whole(arguments.result, json.dumps(result, indent=1) + "\n")
    write_figure(arguments.result.with_suffix(".png"), draw(result))
    print(table(result))
    readme = arguments.result.with_name("README.md")
    if readme.is_file():
        write_whole(readme, put_between(readme.read_text(), "keep rates", block(result)))


def measure(weights: dict[str, list[Path]], usual: str, shipped: Path, valid: Any) -> list[dict[str, Any]]:
    """A row for each keep rate: what it costs, and the accuracy of each of the three networks there.

    `difference`: of the first seed, trained less turned, with its 95 % interval; None at the usual rate.
    """
    keeps = list(weights)
    turned = [keep_curve(path, valid, keeps) for path in weights[usual]]
    rows = []
    for i, (keep, row) in enumerate(zip(keeps, keep_curve(shipped, valid, keeps), strict=True)):
        trained, values = create_engine(weights[keep][0], "torch"), [curve[i]["accuracy"] for curve in turned]
        there = create_engine(weights[usual][0], "torch", keep=Keep.parse(keep))
        rows.append(
            {
                "keep": keep,
                **cost(trained),
                "trained": accuracy(weights[keep], valid),
                "turned": {"accuracies": values, "accuracy": statistics.fmean(values)},
                "shipped": row["accuracy"],
                "difference": None if keep == usual else paired({"turned": there, "trained": trained}, valid)[0],
            }
        )
    return rows


def block(result: dict[str, Any]) -> str:
    """What stands in README.md between the marks."""
    return f"{table(result)}\n\n![Accuracy over the share of patches kept, for three networks](keep_rates.png)"


def table(result: dict[str, Any]) -> str:
    """A row for each keep rate, in Markdown."""
    seeds, usual = result["seeds"], result["turned_from"]
    lines = [
        f"{result['data']['name']} {result['data']['split']} ({result['data']['protocol']}), {result['epochs']} "
        f"epochs from {result['init'] or 'scratch'}, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}; "
        f"shipped is `{result['weights']['file']}`",
        "",
        f"| patches kept | trained so | trained at {usual}, turned | retraining gains | shipped, turned "
        "| GMAC (executed) | ms per face, batch 1 / 32 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rates"]:
        trained, d = row["trained"], row["difference"]
        spread = "" if trained["std"] is None else f" ± {trained['std']:.4f}"
        gain = "" if d is None else f"{d['difference']:+.4f} [{d['low']:+.4f}, {d['high']:+.4f}]"
        times = " / ".join(f"{result['milliseconds'][batch][row['keep']]['median']:.2f}" for batch in ("1", "32"))
        lines.append(
            f"| {row['keep']} ({row['patches']}) | {trained['accuracy']:.4f}{spread} | {row['turned']['accuracy']:.4f} "
            f"| {gain} | {row['shipped']:.4f} | {row['gmac']:.3f} ({row['executed_gmac']:.3f}) | {times} |"
        )
    return "\n".join(lines)


def draw(result: dict[str, Any]) -> Figure:
    """The three accuracies over the patches kept; bars reach from the worst to the best seed."""
    rows = sorted(result["rates"], key=lambda row: row["patches"])
    kept = [row["patches"] for row in rows]
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    lines = {
        "trained": ("trained at this rate", BLUE, "o"),
        "turned": (f"trained at {result['turned_from']}, turned", VERMILION, "s"),
    }
    for name, (label, colour, marker) in lines.items():
        mean = np.array([row[name]["accuracy"] for row in rows])
        low, high = (np.array([end(row[name]["accuracies"]) for row in rows]) for end in (min, max))
        axes.errorbar(kept, mean, (mean - low, high - mean), color=colour, marker=marker, label=label)
    shipped = [row["shipped"] for row in rows]
    axes.plot(kept, shipped, color=GREEN, marker="^", ls="--", label=f"{result['weights']['file']}, turned")
    axes.set(xlabel="patches kept", ylabel=f"accuracy on {result['data']['name']} {result['data']['split']}")
    axes.set_xticks(kept, [f"{row['patches']}\n{row['keep']}" for row in rows])
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
