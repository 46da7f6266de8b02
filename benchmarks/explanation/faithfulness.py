"""Is the relevance faithful? Deletion and insertion curves against other explanations.

Patches of a face are ranked by each explanation of the class that the network names. Deletion replaces the first ones
and watches this class's probability fall: the lower the area under the curve, the better the ranking. Insertion starts
from a face that is replaced altogether, and gives the first ones back: the higher, the better (Petsiuk, Das and Saenko,
"RISE", BMVC 2018). A replaced patch takes its pixels from the mean training face, or from the face itself under a heavy
blur; both are measured, since either may favour somebody. Equal values are ranked at random.

Rankings: `ours` is apvit.explain.relevance.class_relevance; `rollout` and `attention` (class token, last block) know no
class; `grad-cam` (on the stem's output), `gradient` (absolute, summed over a patch) and `input x gradient` (likewise)
are captum's; `random` is a ranking drawn for each face.

    OMP_NUM_THREADS=1 python benchmarks/explanation/faithfulness.py --data prepared/ferplus

writes faithfulness.json, docs/images/explain-faithfulness.png, and the tables in README.md and docs/explanation.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from captum.attr import InputXGradient, LayerGradCam, Saliency
from recording import Experiment, arguments, interval, measured_on, put_between_markers, table, with_interval

from apvit.data import open_split
from apvit.evaluation.predictions import decode
from apvit.explain.relevance import class_attention, class_relevance, rollout

SHARES = (0.0, 0.1, 0.25, 0.45, 0.7, 1.0)
"""Of the patches, deleted or inserted."""
METHODS = ("ours", "rollout", "attention", "grad-cam", "gradient", "input x gradient", "random")
FILLS = {"mean": "the mean training face", "blur": "the face itself, blurred"}
WAYS = ("deletion", "insertion")
BLUR = 1 / 8
"""Gaussian sigma as a share of the face's side: no eye and no mouth is left."""
MEAN_OF = 4000
"""Training faces that the mean face is the mean of."""


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(__doc__, given)
    experiment = Experiment(options, {"shares": SHARES, "methods": METHODS, "fills": tuple(FILLS), "blur": BLUR})
    mean = mean_face(experiment, options.data)
    measured = experiment.measure(lambda indices: measure(experiment, indices, mean))
    if measured is None:
        return
    record = experiment.write("faithfulness", summarise(experiment, measured["curves"]))
    images = options.output / "docs/images"
    images.mkdir(parents=True, exist_ok=True)
    draw(record, images / "explain-faithfulness.png")
    report = f"{measured_on(record)}\n\n{as_tables(record)}\n\n{reading(record)}"
    put_between_markers(options.output / "benchmarks/explanation/README.md", "faithfulness.py", report)
    put_between_markers(options.output / "docs/explanation.md", "faithfulness.py", reading(record))
    print(report)


def mean_face(experiment: Experiment, data: Path) -> np.ndarray:
    """[S, S] or [S, S, 3] uint8; of training faces, so that no measured face is in it."""
    split = open_split(data, "train")
    chosen = np.random.default_rng(0).permutation(len(split))[:MEAN_OF]
    return np.rint(decode(experiment.engine.card, split, np.sort(chosen)).mean(0)).astype(np.uint8)


def measure(experiment: Experiment, indices: np.ndarray, mean: np.ndarray) -> dict[str, np.ndarray]:
    """curves [n, fills, methods, ways, shares]: probability of the class that the whole face is given."""
    engine = experiment.engine
    normalise, grid = engine.card.preprocessing.normalise, engine.model.config.grid
    faces = decode(engine.card, experiment.split, indices)
    classes = engine.run(normalise(faces)).probabilities.argmax(1)

    def probability(shown: np.ndarray) -> np.ndarray:
        return engine.run(normalise(shown)).probabilities[np.arange(len(faces)), classes]

    seeds = [int(index) for index in indices]
    explained = explanations(engine.model, torch.from_numpy(normalise(faces)), torch.from_numpy(classes), seeds)
    ranks = [rank(explained[method], seeds) for method in METHODS]
    curves = np.zeros((len(faces), len(FILLS), len(METHODS), len(WAYS), len(SHARES)), np.float32)
    whole = probability(faces)
    for f, fill in enumerate((np.broadcast_to(mean, faces.shape), np.stack([blurred(face) for face in faces]))):
        gone = probability(fill)
        for way, ends in enumerate(((whole, gone), (gone, whole))):
            curves[:, f, :, way, 0], curves[:, f, :, way, -1] = ends[0][:, None], ends[1][:, None]
        for m, order in enumerate(ranks):
            for s, share in list(enumerate(SHARES))[1:-1]:
                first = order < round(share * grid**2)
                for way, replaced in enumerate((first, ~first)):
                    curves[:, f, m, way, s] = probability(replace(faces, fill, replaced, grid))
    return {"curves": curves}


def explanations(model: Any, x: torch.Tensor, classes: torch.Tensor, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """{method: [n, N] the more, the earlier}; x [n, C, S, S] float32, classes [n]."""
    grid = model.config.grid

    def patches(attribution: torch.Tensor) -> torch.Tensor:
        """[n, C, S, S] -> [n, N] sums of absolute values."""
        pixels = attribution.detach().abs().sum(1, keepdim=True)
        return torch.nn.functional.avg_pool2d(pixels, x.shape[-1] // grid).flatten(1)

    given = x.clone().requires_grad_()
    maps = {
        "ours": class_relevance(model, x, classes[:, None])[:, 0],
        "rollout": rollout(model, x),
        "attention": class_attention(model, x)[:, -1],
        "grad-cam": LayerGradCam(model, model.stem).attribute(given, classes, relu_attributions=True).flatten(1),
        "gradient": patches(Saliency(model).attribute(given, classes)),
        "input x gradient": patches(InputXGradient(model).attribute(given, classes)),
    }
    random = np.stack([np.random.default_rng([seed, 1]).random(grid**2) for seed in seeds])
    return {**{name: values.detach().numpy() for name, values in maps.items()}, "random": random}


def rank(values: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
    """[n, N] the place of every patch, 0 for the largest value; equal ones in a random order."""
    places = np.empty(values.shape, np.int64)
    for row, seed, place in zip(values, seeds, places, strict=True):
        chance = np.random.default_rng([seed, 2]).random(len(row))
        place[np.lexsort((chance, -row))] = np.arange(len(row))
    return places


def replace(faces: np.ndarray, fill: np.ndarray, replaced: np.ndarray, grid: int) -> np.ndarray:
    """faces [n, S, S(, 3)] with the pixels of the patches `replaced` [n, N] bool from `fill`."""
    side = faces.shape[1] // grid
    mask = replaced.reshape(-1, grid, grid).repeat(side, 1).repeat(side, 2)
    return np.where(mask.reshape(*mask.shape, *(1,) * (faces.ndim - 3)), fill, faces)


def blurred(face: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(face, (0, 0), BLUR * len(face), borderType=cv2.BORDER_REPLICATE)


def area(curves: np.ndarray) -> np.ndarray:
    """Area under curves [..., shares], 0..1."""
    return np.trapezoid(curves, SHARES, axis=-1)


def summarise(experiment: Experiment, curves: np.ndarray) -> dict[str, Any]:
    """Per fill and method: area, area against random, and area of ours against it, each with its interval."""
    areas = area(curves)  # [n, fills, methods, ways]
    drawn = experiment.draws() / len(areas)
    samples = np.einsum("rn,nfmw->rfmw", drawn, areas)
    means, ours, chance = areas.mean(0), METHODS.index("ours"), METHODS.index("random")
    fills: dict[str, Any] = {}
    for f, fill in enumerate(FILLS):
        fills[fill] = {}
        for m, method in enumerate(METHODS):
            fills[fill][method] = {
                way: {
                    "curve": [round(float(p), 5) for p in curves[:, f, m, w].mean(0)],
                    "area": interval(samples[:, f, m, w], means[f, m, w]),
                    "against_random": interval(
                        samples[:, f, m, w] - samples[:, f, chance, w], means[f, m, w] - means[f, chance, w]
                    ),
                    "ours_against_it": interval(
                        samples[:, f, ours, w] - samples[:, f, m, w], means[f, ours, w] - means[f, m, w]
                    ),
                }
                for w, way in enumerate(WAYS)
            }
    return {"shares": SHARES, "fills": fills}


def as_tables(record: dict[str, Any]) -> str:
    parts = []
    for fill, methods in record["fills"].items():
        rows = [
            [
                f"**{method}**" if method == "ours" else method,
                *(with_interval(values[way]["area"]) for way in WAYS),
                *(
                    "" if method == "random" else with_interval(values[way]["against_random"], sign=True)
                    for way in WAYS
                ),
            ]
            for method, values in methods.items()
        ]
        heading = [
            f"replaced by {FILLS[fill]}",
            "deletion, lower is better",
            "insertion, higher is better",
            "deletion against random",
            "insertion against random",
        ]
        parts.append(table(heading, rows))
    return "\n\n".join(parts)


def reading(record: dict[str, Any]) -> str:
    """What the figures say, in sentences that follow from them."""
    lines = []
    for fill, methods in record["fills"].items():
        parts = []
        for way in WAYS:
            groups: dict[str, list[str]] = {"better than": [], "worse than": [], "not told apart from": []}
            for method in METHODS[1:]:
                groups[verdict(methods[method][way]["ours_against_it"], way)].append(method)
            said = "; ".join(f"{how} {', '.join(names)}" for how, names in groups.items() if names)
            parts.append(f"by {way} ours is {said}")
        lines.append(f"- Replaced by {FILLS[fill]}: {'. '.join(part[0].upper() + part[1:] for part in parts)}.")
    return "\n".join(lines)


def verdict(difference: dict[str, float], way: str) -> str:
    """Of ours against another: only an interval without zero is a difference."""
    low, high = (difference[end] * (1 if way == "insertion" else -1) for end in ("low", "high"))
    low, high = sorted((low, high))
    return "better than" if low > 0 else "worse than" if high < 0 else "not told apart from"


def draw(record: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    styles = {
        "ours": ("#0072b2", "o", 2.4),
        "rollout": ("#56b4e9", "P", 1.2),
        "attention": ("#009e73", "^", 1.2),
        "grad-cam": ("#d55e00", "s", 1.2),
        "gradient": ("#e69f00", "v", 1.2),
        "input x gradient": ("#cc79a7", "D", 1.2),
        "random": ("#6e7781", "x", 1.2),
    }
    fills = record["fills"]
    figure = Figure(figsize=(9.2, 3.4 * len(fills) + 0.5), layout="constrained", facecolor="white")
    axes = figure.subplots(len(fills), 2, sharex=True, sharey=True, squeeze=False)
    for row, (fill, methods) in zip(axes, fills.items(), strict=True):
        for place, way in zip(row, WAYS, strict=True):
            for method in (*METHODS[1:], METHODS[0]):
                colour, marker, width = styles[method]
                style = {"color": colour, "marker": marker, "linewidth": width, "markersize": 4 + (width > 2)}
                if method == "random":
                    style["linestyle"] = "--"
                place.plot(record["shares"], methods[method][way]["curve"], label=method, **style)
            better = "lower is better" if way == "deletion" else "higher is better"
            place.set_title(f"{way} ({better}), {FILLS[fill]}", fontsize=10)
            place.grid(alpha=0.25)
            place.spines[["top", "right"]].set_visible(False)
            place.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        row[0].set_ylabel("probability of the class named")
    for place, way in zip(axes[-1], ("most relevant patches replaced", "most relevant patches shown"), strict=True):
        place.set_xlabel(way)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    order = [labels.index(method) for method in METHODS]
    figure.legend(
        [handles[i] for i in order], [labels[i] for i in order], loc="outside lower center", ncols=7, frameon=False
    )
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
