"""How much accuracy damage costs bundled weights: the page beside their model card.

It is `apvit robustness` on the labelled validation faces, with its result where the documentation looks for it:

    OMP_NUM_THREADS=1 python benchmarks/accuracy/robustness.py --weights apvit_tiny --data prepared/ferplus

writes robustness/NAME.json beside this file, docs/models/NAME.robustness.md and .png, and the table of all results in
README.md. --faces takes only so many faces, drawn by the seed. No picture with a face is written.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import cv2

from apvit.cli.robustness import robustness
from apvit.evaluation.robustness_report import robustness_markdown
from apvit.weights import find_weights, list_weights

PROJECT = Path(__file__).resolve().parents[2]
START, END = "<!-- robustness -->", "<!-- /robustness -->"


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="apvit_tiny", help="a bundled name")
    parser.add_argument("--data", required=True, help="FER+, prepared or as its owners ship it")
    parser.add_argument("--faces", type=int, help="only so many faces, drawn by the seed; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=PROJECT, help="the project's folder, where results are written")
    arguments = parser.parse_args(given)

    cv2.setNumThreads(1)
    name = find_weights(arguments.weights).name.removesuffix(".safetensors")
    reference = name if name in list_weights() else arguments.weights
    with tempfile.TemporaryDirectory() as folder:
        with redirect_stdout(StringIO()):
            robustness(
                arguments.data,
                [reference],
                "valid",
                faces=arguments.faces,
                seed=arguments.seed,
                report=Path(folder),
                device="cpu",
            )
        record, picture = (Path(folder, f"robustness{suffix}").read_bytes() for suffix in (".json", ".png"))
    results, pages = arguments.output / "benchmarks/accuracy/robustness", arguments.output / "docs/models"
    write_bytes(results / f"{name}.json", record)
    write_bytes(pages / f"{name}.robustness.png", picture)
    write_bytes(pages / f"{name}.robustness.md", page(name, json.loads(record)).encode())
    readme = results.with_name("README.md")
    write_bytes(readme, with_table(readme.read_text(), results).encode())


def write_bytes(path: Path, data: bytes) -> None:
    """`data` appears under `path` complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def page(name: str, record: dict[str, Any]) -> str:
    """The report of `apvit robustness`, as it stands beside the model card."""
    title, rest = robustness_markdown(record).split("\n", 1)
    say = (
        f"Beside the [model card]({name}.md). The damage is synthetic and done to faces that are found and aligned "
        "already; what darkness or a mask does to finding them comes on top. Made by "
        "`benchmarks/accuracy/robustness.py`, whose result file `benchmarks/accuracy/robustness/"
        f"{name}.json` holds all figures."
    )
    return f"{title}\n\n{say}\n{rest}".replace("(robustness.png)", f"({name}.robustness.png)")


def with_table(readme: str, results: Path) -> str:
    """README.md with the table of all result files between its marks."""
    before, rest = readme.split(START)
    return f"{before}{START}\n{table(results)}\n{END}{rest.split(END)[1]}"


def table(results: Path) -> str:
    """A row for each result file: accuracy on clean faces, on damaged ones, and what each kind of damage costs."""
    records = [json.loads(path.read_text()) for path in sorted(results.glob("*.json"))]
    titles = [panel["title"] for panel in records[0]["curves"]["corruptions"]]
    lines = ["| weights | faces | clean | damaged | " + " | ".join(titles) + " |", "|---" * (4 + len(titles)) + "|"]
    for record in records:
        curves = record["curves"]
        drops = [f"{-100 * panel['results'][0]['drop']:+.1f}".replace("-", "−") for panel in curves["corruptions"]]
        clean, overall = curves["corruptions"][0]["results"][0]["accuracy"][0], curves["overall"][0]
        low, high = overall["damaged_interval"]
        cells = [f"`{record['weights'][0]['name']}`", f"{curves['faces']:,}", f"{clean:.3f}"]
        cells += [f"{overall['damaged']:.3f} ({low:.3f} to {high:.3f})", *drops]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
