"""Writes the measured figures into the READMEs and pages, so that no figure is ever copied by hand.

Read are the cards of the bundled weights and the result files of the folders beside this file, those that exist;
written are the parts between the two markers of the files that `main` lists.

    python benchmarks/figures.py            # write
    python benchmarks/figures.py --check    # exit 1 where a README is out of date, write nothing
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import apvit
from apvit.expressions import EXPRESSIONS
from apvit.faces import mtcnn, yunet
from apvit.weights import Card, find_weights, read_card
from archive import plan
from service import under_load
from speed import pages

PROJECT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- figures: written by benchmarks/figures.py -->"
END = "<!-- end of figures -->"

DATASETS = {"ferplus": "FER+"}
SPLITS = {"train": "training", "valid": "validation", "test": "test"}
WAYS = {
    "untouched": "untouched crop of the dataset",
    "aligned": "aligned to the template",
    "square": "square around the box, enlarged × {factor:g}",
    "box": "the box, stretched to a square",
}
THRESHOLDS = {"mtcnn": mtcnn.DEFAULT_MIN_SCORE, "yunet": yunet.DEFAULT_MIN_SCORE}
DETECTORS = {"mtcnn": "MTCNN", "yunet": "YuNet"}


class FiguresError(ValueError):
    """The figures cannot be written: results of other weights or thresholds, or a README without the markers."""


def main(arguments: Sequence[str] | None = None, *, project: Path = PROJECT) -> int:
    """The exit status: 1 for a README that is (with --check) out of date or cannot be written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a README is out of date")
    check = parser.parse_args(arguments).check
    names = sorted(apvit.list_weights(), key=lambda name: find_weights(name).stat().st_size)  # the default first
    cards = {name: read_card(name) for name in names}
    bundled = [hashlib.sha256(find_weights(name).read_bytes()).hexdigest() for name in names]
    try:
        framing = read_result(project / "benchmarks/framing/framing.json")
        if framing is not None:
            check_weights("framing/experiment.py", framing, bundled)
            check_threshold("framing/experiment.py", framing["detector"]["name"], framing["detector"]["min_score"])
        every_face = read_result(project / "benchmarks/framing/every_face.json")
        if every_face is not None:
            check_weights("framing/every_face.py", every_face, bundled)
        thresholds = read_result(project / "benchmarks/detection/thresholds.json")
        if thresholds is not None:
            for detector in THRESHOLDS:
                check_threshold("detection/thresholds.py", detector, thresholds[detector]["default_min_score"])
        speed = pages.read_results(project / "benchmarks/speed")
        if "int8" in speed:
            check_weights("speed/int8.py", speed["int8"], bundled)
        dial = read_result(project / "benchmarks/dial/dial.json")
        if dial is not None:
            check_weights("dial/dial.py", dial, bundled)
        scaling = read_result(project / "benchmarks/archive/scaling.json")
        load = read_result(project / "benchmarks/service/load.json")
        blocks = {
            project / "README.md": summary(cards, framing, thresholds, pages.in_two_lines(speed)),
            project / "docs/speed.md": pages.for_users(speed, dial),
            project / "docs/video.md": pages.of_videos(speed),
            project / "docs/archives.md": plan.plan(scaling),
            project / "docs/service.md": under_load.sentences(load),
            project / "benchmarks/archive/README.md": plan.measured(scaling),
            project / "benchmarks/dial/README.md": pages.every_setting(dial),
            project / "benchmarks/service/README.md": under_load.with_picture(load),
            project / "benchmarks/speed/README.md": pages.every_table(speed),
            project / "benchmarks/framing/README.md": "Not measured yet."
            if framing is None
            else "\n\n".join([by_size(framing), *([] if every_face is None else [every_size(every_face)])]),
        }
        texts = {path: put_between_markers(path, block) for path, block in blocks.items()}
    except FiguresError as error:
        print(error, file=sys.stderr)
        return 1
    stale = [path for path, text in texts.items() if text != path.read_text()]
    for path in stale:
        name = path.relative_to(project)
        if check:
            print(f"the figures in {name} are out of date: run python benchmarks/figures.py", file=sys.stderr)
            continue
        partial = path.with_name(path.name + ".partial")
        partial.write_text(texts[path])
        os.replace(partial, path)
        print(f"wrote the figures in {name}")
    return int(check and bool(stale))


def read_result(path: Path) -> dict[str, Any] | None:
    """The result file, None where it is not there."""
    return json.loads(path.read_text()) if path.is_file() else None


def check_weights(script: str, result: Mapping[str, Any], bundled: Sequence[str]) -> None:
    """FiguresError unless the result of `script` is of one of the bundled files, given by their SHA-256."""
    if result["weights"]["sha256"] not in bundled:
        raise FiguresError(
            f"the result of benchmarks/{script} was measured on {result['weights']['file']}, "
            f"SHA-256 {result['weights']['sha256'][:12]}..., which is not bundled: run it again"
        )


def check_threshold(script: str, detector: str, measured: float) -> None:
    """FiguresError unless the result of `script` was measured at the detector's default of today."""
    if measured != THRESHOLDS[detector]:
        raise FiguresError(
            f"the result of benchmarks/{script} is of {detector}'s threshold {measured}, but the default is "
            f"{THRESHOLDS[detector]}: run it again"
        )


def put_between_markers(path: Path, block: str) -> str:
    """The text of `path` with `block` between the markers; FiguresError unless each stands there once, in order."""
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise FiguresError(f"{path} must have the lines {BEGIN} and {END}, once each and in this order")
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def summary(
    cards: dict[str, Card],
    framing: dict[str, Any] | None,
    thresholds: dict[str, Any] | None,
    speed: str | None = None,
) -> str:
    """Markdown for someone with one minute."""
    parts = [measurement(name, metrics) for name, card in cards.items() for metrics in card.metrics]
    if not cards:
        parts.append("No weights are bundled yet, so there are no accuracies.")
    if framing is not None:
        parts.append(in_photographs(framing))
    if thresholds is not None:
        parts.append(detection(thresholds))
    if speed is not None:
        parts.append(speed)
    return "\n\n".join(parts)


def measurement(name: str, metrics: dict[str, Any]) -> str:
    """One measurement of one card: the overall figures, and recall with the number of faces of every class."""
    low, high = wilson(metrics["accuracy"], metrics["faces"])
    split = SPLITS.get(metrics["split"], metrics["split"])
    dataset = DATASETS.get(metrics["dataset"], metrics["dataset"])
    headings = [f"{split} accuracy (95 % interval)", "mean class accuracy", "macro-F1", "calibration error"]
    error = percent(metrics["ece"])
    if fitted := metrics.get("calibration"):  # then `ece` is of the faces that the temperature was fitted on
        error = (
            f"{percent(fitted['ece_cross_fitted'])} (perfect calibration would measure {percent(fitted['ece_floor'])})"
        )
    overall = [
        f"**{percent(metrics['accuracy'])}** ({low * 100:.1f} to {high * 100:.1f})",
        *(percent(metrics[figure]) for figure in ("mean_class_accuracy", "macro_f1")),
        error,
    ]
    classes = {e: metrics["per_class"][e] for e in EXPRESSIONS if metrics["per_class"].get(e, {}).get("faces")}
    return "\n\n".join(
        (
            f"**`{name}` on {dataset} {split}:** {metrics['faces']:,} faces ({metrics['protocol']} protocol), one pass "
            "each, no test-time augmentation.",
            table(headings, overall),
            table(
                ["", *classes],
                ["recall", *(percent(figures["recall"], 0) for figures in classes.values())],
                ["faces", *(f"{figures['faces']:,}" for figures in classes.values())],
            ),
        )
    )


def in_photographs(framing: dict[str, Any]) -> str:
    """What is found, and what the framing is worth, against the untouched crop."""
    groups, (upright, tilted) = (framing["upright"], framing["tilted"]), framing["turns"]
    dataset, split = DATASETS[framing["data"]["dataset"]], SPLITS[framing["data"]["split"]]
    found = [percent(group["found_share"]["mean"]) for group in groups]
    named = {way: name for way, name in ways(framing).items() if way != "untouched"}
    rows = [
        [name, *(points(group["difference"][f"{way} - untouched"]) for group in groups)] for way, name in named.items()
    ]
    return (
        f"**In photographs:** {sum(group['faces'] for group in groups):,} {dataset} {split} faces were pasted into "
        f"photographs, {framing['sizes'][0]} to {framing['sizes'][-1]} px large. The detector finds {found[0]} of "
        f"those turned by up to {upright:.0f}°, {found[1]} of those turned by {upright:.0f} to {tilted:.0f}°. What "
        f"the crop then changes in the accuracy of `{framing['weights']['file'].removesuffix('.safetensors')}`, "
        "against the dataset's own crop, in points (95 % interval; "
        "[how](benchmarks/framing/README.md)):\n\n"
        + table(["crop", f"up to {upright:.0f}°", f"{upright:.0f} to {tilted:.0f}°"], *rows)
    )


def detection(result: dict[str, Any]) -> str:
    """What the detectors' default thresholds find, and what they take for a face."""
    rows = []
    for detector, default in THRESHOLDS.items():
        groups = result[detector]["groups"]
        pasted = [group for name, group in groups.items() if name.startswith("pasted")]
        others = [group for name, group in groups.items() if not name.startswith("pasted")]
        megapixels = sum(group["megapixels"] for group in others)
        at = result["thresholds"].index(default)
        rows.append(
            [
                f"{DETECTORS[detector]}, {default:g}",
                percent(groups["photographs"]["found_share"][at]),
                percent(sum(group["found_share"][at] for group in pasted) / len(pasted)),
                f"{sum(group['false'][at] for group in others):,} in {megapixels:,.0f} megapixels",
            ]
        )
    sizes = [int(name.split()[1]) for name in result["mtcnn"]["groups"] if name.startswith("pasted")]
    where = f"found where pasted, {min(sizes)} to {max(sizes)} px"
    return "**Detectors** ([how](benchmarks/detection/README.md)):\n\n" + table(
        ["detector, threshold", "found in photographs", where, "false faces"], *rows
    )


def by_size(framing: dict[str, Any]) -> str:
    """The experiment's whole tables."""
    named, (upright, tilted) = ways(framing), framing["turns"]
    groups = {f"up to {upright:.0f}°": framing["upright"], f"{upright:.0f} to {tilted:.0f}°": framing["tilted"]}
    rows = [(f"{row['size']} px, up to {upright:.0f}°", row) for row in framing["by_size"]]
    rows += [("all sizes, {:.0f} to {:.0f}°".format(*row["turn"]), row) for row in framing["by_turn"]]
    rows += [(f"**all sizes, {turn}**", row) for turn, row in groups.items()]
    accuracies = [
        [
            name,
            f"{row['faces']:,}",
            percent(row["found_share"]["mean"]),
            *(percent(row["accuracy"][way]["mean"]) for way in named),
        ]
        for name, row in rows
    ]
    differences = [
        [pair.replace("-", "against"), *(points(row["difference"][pair]) for row in groups.values())]
        for pair in framing["upright"]["difference"]
    ]
    made, weights, calibration = framing["environment"], framing["weights"], framing["calibration"]
    faded, hard = (calibration[name] / calibration["faces"] for name in ("found", "found_with_a_hard_border"))
    return "\n\n".join(
        (
            f"`{weights['file']}` (SHA-256 {weights['sha256'][:12]}...) on {made['date'][:10]}, {made['processor']}; "
            "accuracies are over the faces found.",
            table(["faces", "pasted", "found", *named.values()], *accuracies),
            table(["accuracy, points (95 % interval)", *groups], *differences),
            f"Control: of {calibration['faces']:,} pasted training faces {percent(faded)} are found as they are pasted "
            f"here, {percent(hard)} with a hard border.",
        )
    )


def every_size(record: dict[str, Any]) -> str:
    """What a photograph costs at each size."""
    rows = [
        [
            f"{row['size']} px",
            f"{row['faces']:,}",
            with_interval(row["found_share"]),
            percent(row["accuracy"]["untouched"]["mean"]),
            percent(row["accuracy"]["aligned"]["mean"]),
            points(row["difference"]["aligned - untouched"]),
        ]
        for row in record["by_size"]
    ]
    heading = [
        "faces",
        "pasted",
        "found (95 % interval)",
        "own crop",
        "aligned",
        "points gained or lost (95 % interval)",
    ]
    turned = f"turned by up to {record['turned_up_to']:.0f}°"
    return f"Every face (`every_face.py`, below; {turned}):\n\n{table(heading, *rows)}"


def with_interval(share: dict[str, float]) -> str:
    """A share with its interval, in percent."""
    return f"{percent(share['mean'])} ({100 * share['low']:.1f} to {100 * share['high']:.1f})"


def ways(framing: dict[str, Any]) -> dict[str, str]:
    """The crops with their names for people."""
    factor = framing["square_factor"]
    square = "square around the box" if factor == 1 else WAYS["square"].format(factor=factor)
    return {**WAYS, "square": square}


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `count` faces."""
    z = 1.96
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return centre - half, centre + half


def percent(share: float, digits: int = 1) -> str:
    return f"{share * 100:.{digits}f} %"


def points(value: dict[str, float]) -> str:
    """A difference of shares in percentage points, with its interval."""
    mean, low, high = (f"{value[name] * 100:+.1f}".replace("-", "−") for name in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def table(heading: Sequence[str], *rows: Sequence[str]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
