"""What a photograph costs: every validation face pasted at every size, found, and recognised against its own crop.

experiment.py draws one size for each face and compares crops; this asks the two questions of someone who has
photographs, size by size and with every face at the sizes of EVERY:

- found: the share of the faces, turned by up to 20 degrees, that the default detector finds;
- accuracy: of the faces found, what is recognised after detection and alignment as `apvit.Recognizer` does them,
  against the dataset's own crop of the same faces, paired face by face. Intervals are 95 % bootstraps over faces.

    OMP_NUM_THREADS=1 python benchmarks/framing/every_face.py --weights apvit_tiny --data prepared/ferplus

writes every_face.json and every_face.png beside this file in about four CPU minutes. No picture with a face is written.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from experiment import classify, describe, labelled_faces, paste_and_frame, plot, replace_file, summarise
from pasting import UPRIGHT, draw_place, read_photographs

from apvit.data import open_split
from apvit.engines import create_engine
from apvit.faces.alignment import align
from apvit.machine import describe_machine
from apvit.weights import find_weights

EVERY = (64, 96, 128)  # px, side of the pasted crop: all faces
SOME = (24, 32, 40, 48, 160, 192)  # px: the first of them, for the curve's ends
SOME_FACES = 800
WANTED_SHARE, WANTED_LOSS = 0.90, -1.0  # issue 4: the share found and the points lost, from 64 px on


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="apvit_tiny", help="bundled name, path or hub reference")
    parser.add_argument("--data", type=Path, required=True, help="FER+, prepared or as its owners ship it")
    parser.add_argument("--faces", type=int, help="only so many faces, for a try")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("every_face.json"))
    arguments = parser.parse_args(given)

    cv2.setNumThreads(1)
    engine = create_engine(arguments.weights, "torch", "cpu")
    template, size = engine.card.preprocessing.alignment, engine.card.preprocessing.size
    if template is None:
        sys.exit(f"{arguments.weights} name no alignment template, so faces in photographs cannot be recognised")
    photographs = read_photographs()
    valid = open_split(arguments.data, "valid")
    faces, labels = labelled_faces(valid, engine.card.labels)
    order = np.random.default_rng([arguments.seed, 3]).permutation(len(faces))[: arguments.faces]
    faces, labels = faces[order], labels[order]
    untouched = classify(engine, faces) == labels

    rows = []
    for side in sorted(EVERY + SOME):
        count = len(faces) if side in EVERY else min(SOME_FACES, len(faces))
        rng = np.random.default_rng([arguments.seed, 4, side])
        placements = [draw_place(side, turn, rng) for turn in rng.uniform(-UPRIGHT, UPRIGHT, count).tolist()]
        framings = {"aligned": lambda picture, face: align(picture, face.steady_landmarks, template, size)}
        found, crops = paste_and_frame(faces[:count], placements, photographs, framings)
        right = {
            "untouched": untouched[:count][found],
            "aligned": classify(engine, crops["aligned"]) == labels[:count][found],
        }
        rows.append({"size": side, **summarise(found, right, np.full(count, True))})
        print(as_row(rows[-1]), flush=True)
    result = {
        **describe(find_weights(arguments.weights), engine.card, valid),
        "template": template.name,
        "seed": arguments.seed,
        "turned_up_to": UPRIGHT,
        "by_size": rows,
        "environment": describe_machine(),
    }
    replace_file(arguments.output, lambda path: path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n"))
    replace_file(arguments.output.with_suffix(".png"), lambda path: draw(result, path))


def as_row(row: dict[str, Any]) -> str:
    """A size's figures as a line of Markdown."""
    found, difference = row["found_share"], row["difference"]["aligned - untouched"]
    shares = [row["accuracy"][way]["mean"] for way in ("untouched", "aligned")]
    return (
        f"| {row['size']} px | {row['faces']:,} | {found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f}) | "
        f"{shares[0]:.3f} | {shares[1]:.3f} | "
        f"{100 * difference['mean']:+.1f} ({100 * difference['low']:+.1f} to {100 * difference['high']:+.1f}) |"
    )


def draw(result: dict[str, Any], path: Path) -> None:
    """The share found and the accuracy gained or lost, by size, into a PNG; dashed what issue 4 asks from 64 px on."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    rows = result["by_size"]
    sizes = np.array([row["size"] for row in rows])
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot(left, sizes, [row["found_share"] for row in rows], ("found", "#0072b2", "s"))
    left.hlines(WANTED_SHARE, EVERY[0], sizes[-1], colors="#000000", linestyles="dashed", linewidth=1)
    left.set(title=f"Faces found, turned up to {result['turned_up_to']:.0f}°", ylim=(0.5, 1))
    left.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    plot(right, sizes, [row["difference"]["aligned - untouched"] for row in rows], ("", "#0072b2", "s"), unit=100)
    right.axhline(0, color="#000000", linewidth=1)
    right.hlines(WANTED_LOSS, EVERY[0], sizes[-1], colors="#000000", linestyles="dashed", linewidth=1)
    right.set(title="Accuracy gained or lost, points")
    for axes in (left, right):
        axes.set(xlabel="size of the face's crop in the picture, px", xscale="log")
        axes.set_xticks(sizes, [str(size) for size in sizes], size="small")
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120, format="png")


if __name__ == "__main__":
    main()
