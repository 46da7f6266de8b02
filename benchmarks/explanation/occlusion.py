"""Does attentive pooling drop what is covered? The paper's claim, tested.

A part of every face is covered: a square anywhere, the eyes, or the mouth, in five sizes (those of `apvit robustness`).
What covers is black, mid-grey, the face's own mean, or noise. Patches of which at least half is covered are watched:

- APP: how many of them it drops, against chance (what it drops of all patches) and against the same patches before
  anything covered them, which decides the matter: the edge of a face is dropped more often than its middle anyway;
- ATP: how many of those that APP left it drops, likewise; both together;
- APP's score of them, as its place among the face's 144 (0 lowest, 1 highest), before and after.

Shares are of patches over all faces. Patches that are covered altogether, with all eight around them, are also watched
alone ("inner"): the stem sees beyond a patch's own pixels, and a cover's edge is an edge.

    OMP_NUM_THREADS=1 python benchmarks/explanation/occlusion.py --data prepared/ferplus

writes occlusion.json, docs/images/explain-occlusion.png, and the tables in README.md and docs/explanation.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from recording import Experiment, arguments, interval, measured_on, put_between_markers, table, with_interval

from apvit.engines.engine import Output
from apvit.evaluation.corruptions import CORRUPTIONS, FILL, corrupt
from apvit.evaluation.predictions import decode

KINDS = ("blocks", "eyes", "mouth")
SEVERITIES = (1, 2, 3, 4, 5)
FILLS = {"black": "black", "grey": "mid-grey", "mean": "the face's mean", "noise": "noise"}
GROUPS = ("covered", "inner")
STAGES = ("app", "atp", "both")
HALF = 0.5
"""From this covered share on a patch counts as covered."""


def main(given: Sequence[str] | None = None) -> None:
    options = arguments(__doc__, given)
    levels = {kind: CORRUPTIONS[kind].levels for kind in KINDS}
    experiment = Experiment(options, {"levels": levels, "fills": tuple(FILLS), "covered_from": HALF})
    measured = experiment.measure(lambda indices: measure(experiment, indices))
    if measured is None:
        return
    record = experiment.write("occlusion", summarise(experiment, measured))
    images = options.output / "docs/images"
    images.mkdir(parents=True, exist_ok=True)
    draw(record, images / "explain-occlusion.png")
    report = f"{measured_on(record)}\n\n{as_tables(record)}\n\n{reading(record)}"
    put_between_markers(options.output / "benchmarks/explanation/README.md", "occlusion.py", report)
    put_between_markers(options.output / "docs/explanation.md", "occlusion.py", reading(record))
    print(report)


def measure(experiment: Experiment, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Counts per face, kind, severity and fill (see `count`), of covered and of inner patches, before and after.

    counts [n, kinds, severities, fills, groups, before or after, 4].
    """
    engine = experiment.engine
    card, grid = engine.card, engine.model.config.grid
    faces = decode(card, experiment.split, indices)
    sources = [experiment.split.sources[index] for index in indices]
    before = engine.run(card.preprocessing.normalise(faces))
    counts = np.zeros((len(faces), len(KINDS), len(SEVERITIES), len(FILLS), len(GROUPS), 2, 4))
    for k, kind in enumerate(KINDS):
        for s, severity in enumerate(SEVERITIES):
            masks = np.stack(
                [
                    covered_pixels(face, kind, severity, experiment.given.seed, source, card.preprocessing.alignment)
                    for face, source in zip(faces, sources, strict=True)
                ]
            )
            watched = watched_patches(masks, grid)
            for f, fill in enumerate(FILLS):
                pairs = zip(faces, masks, indices, strict=True)
                covered = np.stack([cover(face, mask, fill, int(index)) for face, mask, index in pairs])
                after = engine.run(card.preprocessing.normalise(covered))
                for p, patches in enumerate(watched):
                    counts[:, k, s, f, p, 0] = count(before, patches)
                    counts[:, k, s, f, p, 1] = count(after, patches)
    return {"counts": counts}


def covered_pixels(face: np.ndarray, kind: str, severity: int, seed: int, source: str, template: Any) -> np.ndarray:
    """[S, S] bool: what this corruption paints over; its places do not depend on the pixels."""
    blank = np.zeros(face.shape[:2], np.uint8)
    painted = corrupt(blank, CORRUPTIONS[kind], severity, seed=seed, source=source, template=template)
    return painted == FILL


def cover(face: np.ndarray, mask: np.ndarray, fill: str, seed: int) -> np.ndarray:
    """`face` with the pixels of `mask` [S, S] filled."""
    covered = face.copy()
    if fill == "noise":
        covered[mask] = np.random.default_rng(seed).integers(0, 256, face.shape, np.uint8)[mask]
    else:
        covered[mask] = {"black": 0, "grey": FILL, "mean": np.rint(face.mean((0, 1)))}[fill]
    return covered


def watched_patches(masks: np.ndarray, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """masks [n, S, S] -> patches covered by half or more, and inner ones, [n, N] bool each."""
    side = masks.shape[1] // grid
    share = masks.reshape(-1, grid, side, grid, side).mean((2, 4))
    whole = (share == 1).astype(np.uint8)
    inner = np.stack([cv2.erode(one, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE) for one in whole])
    return (share >= HALF).reshape(len(masks), -1), inner.reshape(len(masks), -1).astype(bool)


def count(output: Output, watched: np.ndarray) -> np.ndarray:
    """[n, 4] of the watched patches [n, N]: how many, kept by APP, alive after all blocks, and the sum of the places of
    their APP scores among the face's.
    """
    places = output.patch_scores.argsort(1).argsort(1) / (output.patch_scores.shape[1] - 1)
    kept, alive = np.zeros((2, *watched.shape), bool)
    np.put_along_axis(kept, output.patches, True, 1)
    np.put_along_axis(alive, output.tokens[-1], True, 1)
    return np.stack([(watched * values).sum(1) for values in (1, kept, alive, places)], axis=1)


def figures(counts: np.ndarray) -> dict[str, np.ndarray]:
    """counts [..., 4] -> the share that APP drops, that ATP drops of the rest, that both drop, and the mean place."""
    all_, kept, alive, places = np.moveaxis(counts, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"app": 1 - kept / all_, "atp": 1 - alive / kept, "both": 1 - alive / all_, "place": places / all_}


def summarise(experiment: Experiment, measured: dict[str, np.ndarray]) -> dict[str, Any]:
    counts, drawn = measured["counts"], experiment.draws()
    config = experiment.engine.model.config
    kept, alive = config.patch_count, config.token_counts[-1]
    chance = {"app": 1 - kept / config.num_patches, "atp": 1 - alive / kept, "both": 1 - alive / config.num_patches}

    def described(part: np.ndarray) -> dict[str, Any] | None:
        """part [n, before or after, 4]."""
        if not part[..., 1].sum(0).all():
            return None  # nothing of this kind is covered at this size
        means = figures(part.sum(0))
        samples = figures((drawn @ part.reshape(len(part), -1)).reshape(-1, 2, 4))
        return {
            "patches_a_face": float(part[:, 1, 0].mean()),
            **{
                name: {
                    "before": interval(samples[name][:, 0], means[name][0]),
                    "after": interval(samples[name][:, 1], means[name][1]),
                    "difference": interval(samples[name][:, 1] - samples[name][:, 0], means[name][1] - means[name][0]),
                }
                for name in means
            },
        }

    return {
        "chance": {**chance, "place": 0.5},
        "by_size": {
            kind: [
                {
                    "level": level,
                    **{
                        group: {fill: described(counts[:, k, s, f, p]) for f, fill in enumerate(FILLS)}
                        for p, group in enumerate(GROUPS)
                    },
                }
                for s, level in enumerate(CORRUPTIONS[kind].levels)
            ]
            for k, kind in enumerate(KINDS)
        },
        "by_kind": {
            kind: {
                group: {fill: described(counts[:, k, :, f, p].sum(1)) for f, fill in enumerate(FILLS)}
                for p, group in enumerate(GROUPS)
            }
            for k, kind in enumerate(KINDS)
        },
        "overall": {
            group: {fill: described(counts[:, :, :, f, p].sum((1, 2))) for f, fill in enumerate(FILLS)}
            for p, group in enumerate(GROUPS)
        },
    }


def as_tables(record: dict[str, Any]) -> str:
    """Overall with intervals, then APP's share by kind and size."""
    chance = record["chance"]
    names = {
        "app": f"APP drops (chance {percent(chance['app'])})",
        "atp": f"ATP drops of the rest (chance {percent(chance['atp'])})",
        "both": f"both drop (chance {percent(chance['both'])})",
        "place": "place of APP's score (0 lowest, 1 highest)",
    }
    rows = []
    for group in GROUPS:
        for fill, found in record["overall"][group].items():
            if found is None:
                continue
            cells = [
                f"{percent(found[name]['before']['mean'])} to {percent(found[name]['after']['mean'])}, "
                f"{with_interval(found[name]['difference'], 1, sign=True, unit=100)}"
                for name in STAGES
            ]
            difference = with_interval(found["place"]["difference"], 2, sign=True)
            cells.append(f"{place(found['place'])}, {difference}")
            rows.append([f"{group}, {FILLS[fill]}", *cells])
    parts = [
        "All kinds and sizes together: before and after the patches are covered, and the difference:",
        table(["patches, cover", *names.values()], rows),
    ]
    for stage in ("app", "atp"):
        rows = []
        for kind, sizes in record["by_size"].items():
            for size in sizes:
                found = size["covered"]
                first = found["black"]
                if None in found.values():
                    continue
                rows.append(
                    [
                        f"{CORRUPTIONS[kind].title.lower()}, {size['level']:g}",
                        f"{first['patches_a_face']:.0f}",
                        percent(first[stage]["before"]["mean"]),
                        *(percent(found[fill][stage]["after"]["mean"]) for fill in FILLS),
                    ]
                )
        parts.append(f"What {stage.upper()} drops of the covered patches, by kind and size:")
        parts.append(table(["cover, size", "patches a face", "before", *FILLS.values()], rows))
    units = "; ".join(f"{CORRUPTIONS[kind].title.lower()}: {CORRUPTIONS[kind].unit}" for kind in KINDS)
    last = f"Sizes are those of `apvit robustness` ({units}); one that covers half of no patch is left out."
    return "\n\n".join([*parts, last])


def reading(record: dict[str, Any]) -> str:
    """What the figures say, in sentences that follow from them."""
    overall = {fill: found for fill, found in record["overall"]["covered"].items() if found is not None}
    lines = []
    for stage, whose in (("app", "all patches"), ("atp", "all patches that APP left"), ("both", "all patches")):
        name, chance = {"both": "Both together"}.get(stage, stage.upper()), record["chance"][stage]
        drop = "drop" if stage == "both" else "drops"
        before = next(iter(overall.values()))[stage]["before"]["mean"]
        parts = []
        for fill, found in overall.items():
            change = compared(found[stage]["difference"], 0, ("more than before", "less than before", "as before"))
            level = compared(found[stage]["after"], chance, ("above chance", "below chance", "at chance"))
            parts.append(f"{FILLS[fill]} {percent(found[stage]['after']['mean'])} ({change}, {level})")
        lines.append(
            f"- {name} {drop} {percent(chance)} of {whose}, which is chance, and {percent(before)} of those that will "
            f"be covered. Once they are: {'; '.join(parts)}."
        )
    places = [f"{FILLS[fill]} {place(found['place'])}" for fill, found in overall.items()]
    lines.append(f"- Place of APP's score of covered patches among the face's, before to after: {'; '.join(places)}.")
    return "\n".join(lines)


def compared(value: dict[str, float], level: float, words: tuple[str, str, str]) -> str:
    """Above, below, or not told apart, by the interval."""
    above, below, neither = words
    return above if value["low"] > level else below if value["high"] < level else neither


def place(value: dict[str, Any]) -> str:
    return f"{value['before']['mean']:.2f} to {value['after']['mean']:.2f}"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %".replace("-", "−")


def draw(record: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    styles = {
        "black": ("#000000", "s"),
        "grey": ("#0072b2", "o"),
        "mean": ("#e69f00", "^"),
        "noise": ("#cc79a7", "D"),
    }
    rows = {"app": "APP drops, of the covered patches", "atp": "ATP drops, of those APP left"}
    figure = Figure(figsize=(10.5, 6.4), layout="constrained", facecolor="white")
    axes = figure.subplots(len(rows), len(KINDS), sharex="col", sharey="row")
    for row, (stage, label) in zip(axes, rows.items(), strict=True):
        for axis, kind in zip(row, KINDS, strict=True):
            sizes = [size for size in record["by_size"][kind] if None not in size["covered"].values()]
            x = [size["level"] for size in sizes]
            for fill, (colour, marker) in styles.items():
                values = [size["covered"][fill][stage]["after"] for size in sizes]
                mean = np.array([value["mean"] for value in values])
                ends = [mean - [value["low"] for value in values], [value["high"] for value in values] - mean]
                spread = np.maximum(ends, 0)  # of a few faces a mean may lie beside its interval
                style = {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.4, "capsize": 2}
                axis.errorbar(x, mean, spread, label=f"covered, {FILLS[fill]}", **style)
            before = [size["covered"]["black"][stage]["before"]["mean"] for size in sizes]
            axis.plot(x, before, color="#009e73", linestyle="--", linewidth=2, label="the same patches, uncovered")
            chance = record["chance"][stage]
            axis.axhline(chance, color="#6e7781", linestyle=":", linewidth=1.5, label="chance")
            axis.set_xticks([size["level"] for size in record["by_size"][kind]])
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
            axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        row[0].set_ylabel(label)
        row[0].set_ylim(0)
    for axis, kind in zip(axes[0], KINDS, strict=True):
        axis.set_title(CORRUPTIONS[kind].title, fontsize=11)
    for axis, kind in zip(axes[-1], KINDS, strict=True):
        axis.set_xlabel(CORRUPTIONS[kind].unit)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: not labels[i].startswith("covered"))
    figure.legend(
        [handles[i] for i in order], [labels[i] for i in order], loc="outside lower center", ncols=3, frameon=False
    )
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
