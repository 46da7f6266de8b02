"""Shows what framing is worth: faces in photographs, aligned to the weights' template or cut out by their box.

Every labelled validation face is pasted into a photograph without faces, at one of five sizes, moved, and turned at
random, most by up to 20 degrees, some by up to 45; the default detector looks for it; the network classifies it in
these ways:

- untouched: the dataset's own crop, never pasted;
- aligned: warped so that the detected landmarks lie on the card's alignment template, as `apvit.Recognizer` does;
- square: the square around the detected box, enlarged by the factor that is best on training faces pasted alike;
- box: the detected box itself, which is higher than wide, stretched to a square.

Accuracies are over the faces found, differences paired face by face; the share found is a figure of its own. Intervals
are 95 % percentile bootstraps over faces.

pasting.py pastes. As a control, the training faces are looked for with a hard border too.

    OMP_NUM_THREADS=1 python benchmarks/framing/experiment.py --weights apvit_tiny --data prepared/ferplus

writes framing.json and framing.png beside this file. No picture with a face is written.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pasting import (
    FADE,
    HARD,
    SIZES,
    TILTED,
    UPRIGHT,
    Placement,
    draw_placements,
    is_pasted_face,
    paste,
    read_photographs,
)

from apvit.data import Split, open_split
from apvit.engines import Engine, create_engine
from apvit.expressions import LabelSpace, label_map
from apvit.faces.alignment import AlignmentTemplate, align, resize_face
from apvit.faces.detection import Detection, create_detector
from apvit.faces.mtcnn import DEFAULT_MIN_SCORE
from apvit.machine import describe_machine
from apvit.weights import Card, find_weights

TURNS = (0.0, 10.0, UPRIGHT, 30.0, TILTED)  # degrees
FACTORS = (0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)
CALIBRATION_FACES = 1200
BATCH = 64
RESAMPLES = 10_000
WAYS = ("untouched", "aligned", "square", "box")
PAIRS = (
    ("aligned", "untouched"),
    ("square", "untouched"),
    ("box", "untouched"),
    ("aligned", "square"),
    ("aligned", "box"),
)

Framing = Callable[[np.ndarray, Detection], np.ndarray]
"""The face of a picture [H, W, 3] as the network's crop [S, S, 3]."""


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="apvit_tiny", help="bundled name, path or hub reference")
    parser.add_argument("--data", type=Path, required=True, help="FER+, prepared or as its owners ship it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("framing.json"))
    arguments = parser.parse_args(given)

    cv2.setNumThreads(1)
    engine = create_engine(arguments.weights, "torch", "cpu")
    card = engine.card
    template = card.preprocessing.alignment
    if template is None:
        sys.exit(f"{arguments.weights} name no alignment template, so there is nothing to compare")
    size = card.preprocessing.size
    photographs = read_photographs()

    faces, labels = labelled_faces(open_split(arguments.data, "train"), card.labels)
    chosen = np.random.default_rng([arguments.seed, 0]).permutation(len(faces))[:CALIBRATION_FACES]
    placements = draw_placements(len(chosen), np.random.default_rng([arguments.seed, 1]))
    factors = {str(factor): partial(cut_square, factor=factor, size=size) for factor in FACTORS}
    found, crops = paste_and_frame(faces[chosen], placements, photographs, factors)
    by_factor = {name: float((classify(engine, c) == labels[chosen][found]).mean()) for name, c in crops.items()}
    factor = max(FACTORS, key=lambda value: by_factor[str(value)])
    framed, _ = paste_and_frame(faces[chosen], placements, photographs, {}, fade=HARD)
    calibration = {
        "split": "train",
        "faces": len(chosen),
        "found": int(found.sum()),
        "found_with_a_hard_border": int(framed.sum()),
        "accuracy_by_factor": by_factor,
    }

    valid = open_split(arguments.data, "valid")
    faces, labels = labelled_faces(valid, card.labels)
    placements = draw_placements(len(faces), np.random.default_rng([arguments.seed, 2]))
    framings: dict[str, Framing] = {
        "aligned": lambda picture, face: align(picture, face.landmarks, template, size),
        "square": factors[str(factor)],
        "box": partial(cut_box, size=size),
    }
    found, crops = paste_and_frame(faces, placements, photographs, framings)
    crops["untouched"] = faces[found]
    right = {way: classify(engine, crops[way]) == labels[found] for way in WAYS}

    sizes = np.array([placement.size for placement in placements])
    turns = np.array([abs(placement.turn) for placement in placements])
    upright = turns <= UPRIGHT
    result = {
        **describe(find_weights(arguments.weights), card, valid),
        "template": template.name,
        "seed": arguments.seed,
        "sizes": list(SIZES),
        "turns": [UPRIGHT, TILTED],
        "square_factor": factor,
        "calibration": calibration,
        "upright": summarise(found, right, upright),
        "tilted": summarise(found, right, ~upright),
        "by_size": [{"size": size, **summarise(found, right, upright & (sizes == size))} for size in SIZES],
        "by_turn": [
            {"turn": [low, high], **summarise(found, right, (turns > low) & (turns <= high))}
            for low, high in pairwise(TURNS)
        ],
        "environment": describe_machine(),
    }
    replace_file(arguments.output, lambda path: path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n"))
    replace_file(arguments.output.with_suffix(".png"), lambda path: draw(result, path))
    print(as_table(result))


def describe(file: Path, card: Card, split: Split) -> dict[str, Any]:
    """What a result was measured with, as JSON values."""
    return {
        "weights": {
            "file": file.name,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "architecture": card.architecture,
            "commit": card.provenance.get("commit"),
            "epoch": card.provenance.get("epoch"),
        },
        "data": {
            "dataset": split.metadata.dataset,
            "split": split.metadata.split,
            "protocol": split.metadata.protocol,
            "inputs": split.metadata.inputs,
        },
        "detector": {"name": "mtcnn", "min_score": DEFAULT_MIN_SCORE},
    }


def labelled_faces(split: Split, space: LabelSpace) -> tuple[np.ndarray, np.ndarray]:
    """Faces [N, S, S] uint8 with a label that the weights know, and these labels [N] in the weights' space."""
    mapped = np.array([-1 if label is None else label for label in label_map(split.metadata.labels, space)])
    labels = np.where(split.labels >= 0, mapped[split.labels], -1)
    known = labels >= 0
    return split.select(known).pixels("grey"), labels[known]


def cut_square(picture: np.ndarray, face: Detection, factor: float, size: int) -> np.ndarray:
    """The square around the face's box, its longer side times `factor`: uint8 [size, size, 3].

    Sampled as `align` samples: the square's corners and centre are the landmarks, and the crop's the template.
    """
    x1, y1, x2, y2 = face.box
    half = max(x2 - x1, y2 - y1) * factor / 2
    # Boxes count from the first pixel's edge, landmarks and templates from its centre.
    middle = np.array([(x1 + x2) / 2, (y1 + y2) / 2]) - 0.5
    unit = np.array([(-1, -1), (1, -1), (0, 0), (-1, 1), (1, 1)], dtype=np.float64)
    target = AlignmentTemplate("box", size, tuple((unit * size / 2 + (size - 1) / 2).tolist()))
    return align(picture, middle + unit * half, target)


def cut_box(picture: np.ndarray, face: Detection, size: int) -> np.ndarray:
    """The box itself, to the nearest pixel, stretched to uint8 [size, size, 3]."""
    x1, y1, x2, y2 = (round(edge) for edge in face.box)
    return resize_face(picture[y1:y2, x1:x2], size)


def paste_and_frame(
    faces: np.ndarray,
    placements: list[Placement],
    photographs: list[np.ndarray],
    framings: Mapping[str, Framing],
    fade: float = FADE,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Which of faces [N, S, S] are found when pasted, [N] bool, and each framing's crops of these [found, S, S, 3]."""
    detector = create_detector("mtcnn")
    found = np.full(len(faces), False)
    crops: dict[str, list[np.ndarray]] = {way: [] for way in framings}
    for start in range(0, len(faces), BATCH):
        indices = range(start, min(start + BATCH, len(faces)))
        pictures = [paste(faces[i], placements[i], photographs, fade) for i in indices]
        for i, picture, detections in zip(indices, pictures, detector.detect(pictures), strict=True):
            best = next((d for d in detections if is_pasted_face(d, placements[i])), None)
            if best is None:
                continue
            found[i] = True
            for way, frame in framings.items():
                crops[way].append(frame(picture, best))
        print(f"\r{indices[-1] + 1:,} of {len(faces):,} pasted, {found.sum():,} found", end="", file=sys.stderr)
    print(file=sys.stderr)
    return found, {way: np.stack(cut) for way, cut in crops.items()}


def classify(engine: Engine, crops: np.ndarray) -> np.ndarray:
    """The most probable label of each crop, [N]."""
    normalise = engine.card.preprocessing.normalise
    batches = [engine.run(normalise(crops[start : start + BATCH])) for start in range(0, len(crops), BATCH)]
    return np.concatenate([batch.probabilities.argmax(1) for batch in batches])


def summarise(found: np.ndarray, right: Mapping[str, np.ndarray], where: np.ndarray) -> dict[str, Any]:
    """The figures of the faces `where` [N]; found [N], and of those found which each way got right [found]."""
    chosen = where[found]
    return {
        "faces": int(where.sum()),
        "found": int(chosen.sum()),
        "found_share": mean_with_interval(found[where]),
        "accuracy": {way: mean_with_interval(correct[chosen]) for way, correct in right.items()},
        "difference": {
            f"{way} - {other}": mean_with_interval(right[way][chosen].astype(int) - right[other][chosen])
            for way, other in PAIRS
            if way in right and other in right
        },
    }


def mean_with_interval(values: np.ndarray) -> dict[str, float]:
    """The mean of values [N] in -1, 0, 1, and its 95 % percentile bootstrap interval."""
    kinds = np.array([-1, 0, 1])
    shares = (values.astype(int)[:, None] == kinds).mean(0)
    # Drawing N faces with replacement is drawing how many of each kind.
    draws = np.random.default_rng(0).multinomial(len(values), shares, RESAMPLES) @ kinds / len(values)
    low, high = np.percentile(draws, (2.5, 97.5))
    return {"mean": float(shares @ kinds), "low": float(low), "high": float(high)}


def as_table(result: dict[str, Any]) -> str:
    lines = ["| faces | found | " + " | ".join(WAYS) + " |", "|" + "---|" * (len(WAYS) + 2)]
    rows = [(f"{row['size']} px", row) for row in result["by_size"]]
    rows += [("turned {:.0f} to {:.0f}°".format(*row["turn"]), row) for row in result["by_turn"]]
    groups = [(group, result[group]) for group in ("upright", "tilted")]
    for name, row in [*rows, *groups]:
        accuracies = " | ".join(f"{row['accuracy'][way]['mean']:.3f}" for way in WAYS)
        lines.append(f"| {name} | {row['found_share']['mean']:.3f} | {accuracies} |")
    for group, row in groups:
        for name, value in row["difference"].items():
            lines.append(f"{group}: {name}: {value['mean']:+.4f} ({value['low']:+.4f} to {value['high']:+.4f})")
    lines.append(f"square enlarged by {result['square_factor']}: {result['calibration']}")
    return "\n".join(lines)


def draw(result: dict[str, Any], path: Path) -> None:
    """The share found by size, and by turn the accuracies against the untouched crop's, into a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot(left, np.array(SIZES), [row["found_share"] for row in result["by_size"]], ("found", "#0072b2", "s"))
    left.set(
        title=f"Faces found, turned up to {UPRIGHT:.0f}°",
        xlabel="size of the face's crop in the picture, px",
        xticks=SIZES,
        ylim=(0, 1),
    )
    left.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    styles = {
        "aligned": ("aligned to the template", "#0072b2", "s"),
        "square": (f"square around the box, × {result['square_factor']:g}", "#e69f00", "^"),
        "box": ("the box, stretched", "#cc79a7", "v"),
    }
    bands = np.arange(len(result["by_turn"]))
    for shift, (way, style) in enumerate(styles.items()):
        differences = [row["difference"][f"{way} - untouched"] for row in result["by_turn"]]
        plot(right, bands + 0.08 * (shift - 1), differences, style, unit=100)
    right.axhline(0, color="#000000", linewidth=1)
    right.set(
        title="Accuracy against the untouched, points",
        xlabel="turned by",
        xticks=bands,
        xticklabels=["{:.0f}-{:.0f}°".format(*row["turn"]) for row in result["by_turn"]],
    )
    right.legend(frameon=False, fontsize="small", loc="lower left")
    low, high = right.get_ylim()
    right.set_ylim(low - 0.35 * (high - low), high)  # room for the legend
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120, format="png")


def plot(
    axes: Any, x: np.ndarray, values: list[dict[str, float]], style: tuple[str, str, str], unit: float = 1
) -> None:
    label, colour, marker = style
    mean, low, high = (unit * np.array([value[name] for value in values]) for name in ("mean", "low", "high"))
    spread = [mean - low, high - mean]
    axes.errorbar(x, mean, spread, label=label, color=colour, marker=marker, markersize=4, linewidth=1, capsize=2)


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """What `write` writes appears under `path` complete or not at all."""
    partial_file = path.with_name(path.name + ".partial")
    try:
        write(partial_file)
        os.replace(partial_file, path)
    finally:
        partial_file.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
