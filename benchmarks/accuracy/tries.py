"""What was tried to make apvit_tiny better: one change at a time, predicted before it is run, recorded after.

    python benchmarks/accuracy/tries.py NAME --runs FOLDER    # trains the try NAME of tries.yaml (resumes), records it
    python benchmarks/accuracy/tries.py                       # writes the table of all records into README.md

A record, tries/NAME.json, holds the prediction, the change, validation figures, epochs, seconds, commit and machine.
Half an hour to an hour each on a core.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from apvit.cli.train import read_recipe
from apvit.machine import describe_machine
from apvit.training import train

HERE = Path(__file__).parent
CONFIG = HERE.parents[1] / "configs" / "ferplus" / "ablation.yaml"
START, END = "<!-- tries -->", "<!-- /tries -->"


def changes(name: str, tries: dict[str, Any]) -> dict[str, Any]:
    """All recipe fields of a try that differ from the configuration: those of its base, then its own."""
    base = tries[name].get("base")
    merged = changes(base, tries) if base else {}
    for field, value in tries[name]["change"].items():
        merged[field] = {**merged.get(field, {}), **value} if isinstance(value, dict) else value
    return merged


def run(name: str, runs: Path) -> None:
    tries = yaml.safe_load((HERE / "tries.yaml").read_text())
    recipe, _ = read_recipe(["--config", str(CONFIG)])
    fields = changes(name, tries)
    for group in ("augmentation",):  # a group's fields change one by one
        if group in fields:
            fields[group] = replace(getattr(recipe, group), **fields[group])
    if "teachers" in fields:  # other tries' weights
        fields["teachers"] = [str(runs / name / "best.safetensors") for name in fields["teachers"]]
    folder = runs / name
    started = (folder / "checkpoints" / "last.ckpt").is_file()
    recipe = replace(recipe, **fields, output=str(folder), resume=started)
    begin = time.monotonic()
    train(recipe)
    record = {
        "name": name,
        **tries[name],
        "epochs": recipe.epochs,
        **{what: json.loads((folder / "summary.json").read_text())[what] for what in ("best", "last")},
        "seconds": None if started else round(time.monotonic() - begin),
        "threads": torch.get_num_threads(),
        "environment": describe_machine(),
    }
    (HERE / "tries").mkdir(exist_ok=True)
    (HERE / "tries" / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


def table() -> str:
    """The records as a Markdown table, in the order of tries.yaml."""
    tries = yaml.safe_load((HERE / "tries.yaml").read_text())
    lines = [
        "| try | change | predicted | epochs | minutes (threads) | accuracy | against its base | mean class |",
        "|---|---|---|---|---|---|---|---|",
    ]
    found = {name: _read(name) for name in tries}
    for name, record in found.items():
        if record is None:
            continue
        base = found.get(tries[name].get("base", "baseline"))
        against = (
            "" if base is None or base is record else f"{record['best']['accuracy'] - base['best']['accuracy']:+.4f}"
        )
        minutes = "" if record["seconds"] is None else f"{record['seconds'] / 60:.0f} ({record['threads']})"
        change = ", ".join(f"`{field}: {value}`" for field, value in record["change"].items()) or "none"
        lines.append(
            f"| {name} | {change} | {record['predicted']} | {record['epochs']} | {minutes} "
            f"| {record['best']['accuracy']:.4f} | {against} | {record['best']['mean_class_accuracy']:.4f} |"
        )
    return "\n".join(lines)


def _read(name: str) -> dict[str, Any] | None:
    path = HERE / "tries" / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="a try of tries.yaml")
    parser.add_argument("--runs", type=Path, default=Path("runs/tries"), help="folder of the run folders")
    arguments = parser.parse_args()
    if arguments.name:
        run(arguments.name, arguments.runs)
    readme = HERE / "README.md"
    before, rest = readme.read_text().split(START)
    readme.write_text(f"{before}{START}\n{table()}\n{END}{rest.split(END)[1]}")
    print(table())


if __name__ == "__main__":
    main()
