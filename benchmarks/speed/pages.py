"""The result files of this folder as parts of pages, for `benchmarks/figures.py`, which puts them between markers."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from speed.result_tables import (
    WAYS,
    choices_table,
    dial_table,
    digits,
    engines_table,
    growth_table,
    int8_table,
    memory_table,
    peers_table,
    percent,
    points,
    pooling_table,
    provenance,
    table,
    targets_table,
)

Record = Mapping[str, Any]
Results = Mapping[str, Record]

HERE = Path(__file__).parent
NAMES = ("engines", "pooling", "growth", "peers", "memory", "cold_start", "folder", "video", "int8")
NOT_YET = "Not measured yet."
BASELINES = ("official, eager", "ours, eager")


def read_results(folder: Path) -> dict[str, Record]:
    """The result files that are there, by name."""
    paths = {name: folder / f"{name}.json" for name in NAMES}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.is_file()}


def every_table(results: Results) -> str:
    """All figures, for benchmarks/speed/README.md."""
    parts = []
    if "engines" in results:
        record = results["engines"]
        parts += ["## Engines", provenance(record), engines_table(record), "What was asked for:", targets_table(record)]
    if "pooling" in results:
        record = results["pooling"]
        parts += ["## Pooling on against off", provenance(record), pooling_table(record)]
    if "growth" in results:
        record = results["growth"]
        picture = "![Cost against batch, input size, keep rate, depth and faces per picture](growth.png)"
        parts += ["## Growth", provenance(record), picture, growth_table(record)]
    if "peers" in results:
        record = results["peers"]
        parts += ["## Other programs", provenance(record), peers_table(record), _detail_of_peers(record)]
    if "memory" in results:
        record = results["memory"]
        parts += ["## Memory", provenance(record), memory_table(record)]
    for name, title in (("cold_start", "Cold start"), ("folder", "A folder from end to end"), ("video", "Video")):
        if name in results:
            parts += [f"## {title}", provenance(results[name]), _own_table(name, results[name])]
    if "int8" in results:
        parts += ["## int8", provenance(results["int8"]), int8_table(results["int8"])]
    return "\n\n".join(parts) or NOT_YET


def for_users(results: Results, dial: Record | None = None) -> str:
    """What to choose and what it costs, for docs/speed.md; `dial` is what benchmarks/dial wrote, if it did."""
    parts = []
    if "engines" in results:
        parts += [f"Measured on {provenance(results['engines'])}", _choice(results["engines"])]
    if "pooling" in results:
        parts += ["## What pooling saves", _saved(results["pooling"])]
    if dial is not None:
        parts += [
            "## The dial",
            f"{provenance(dial)} `--keep` at inference, without retraining; how, and every setting: "
            "[benchmarks/dial](benchmarks/dial/README.md).",
            "![Left, on two engines: accuracy against time for the settings of the dial. Right: time of apvit_base "
            "against what it executes](benchmarks/dial/dial.png)",
            what_the_dial_means(dial),
            choices_table(dial),
        ]
    if "int8" in results:
        parts += [
            "## int8",
            f"{provenance(results['int8'])} `apvit export apvit_tiny OUT.onnx --int8 --calibrate prepared/ferplus` "
            "writes such a file and prints the same for your processor, whose instructions decide what it gains.",
            int8_table(results["int8"]),
        ]
    if "growth" in results:
        parts += [
            "## How cost grows",
            "For `apvit_tiny`; x is what the first column names, lines in the picture are these fits.",
            growth_table(results["growth"]),
            "![Cost against batch, input size, keep rate, depth and faces per picture](benchmarks/speed/growth.png)",
        ]
    if "folder" in results:
        parts += ["## A folder", _folder_in_words(results["folder"])]
    if "cold_start" in results:
        parts += ["## One picture, from the start", _cold_start_in_words(results["cold_start"])]
    if "peers" in results:
        parts += ["## Beside another program", _detail_of_peers(results["peers"]), peers_table(results["peers"])]
    if "memory" in results:
        parts += ["## Memory", memory_table(results["memory"])]
    return "\n\n".join(parts) or NOT_YET


def of_videos(results: Results) -> str:
    """How fast videos are and what memory they take, for docs/video.md."""
    if "video" not in results:
        return NOT_YET
    record = results["video"]
    clip, ms, memory = record["clip"], record["ms_per_frame"], record["memory"]
    people = "one face" if clip["faces"] == 1 else f"{clip['faces']} faces"
    return (
        f"A clip of {clip['width']}x{clip['height']}, {clip['rate']} frames per second, {people}: "
        f"**{record['frames_per_second']:.0f} frames per second**, every one decoded and recognised; faces are "
        f"searched for {record['searches_per_second']:g} times a second and followed in between. Of "
        f"{digits(ms['whole']['median'])} ms a frame searching takes {digits(ms['search']['median'])} and recognising "
        f"{digits(ms['classify']['median'])}; an annotated copy costs {digits(ms['annotate']['median'])} more. Memory "
        f"over {memory['frames']:,} frames with a face in each: {memory['settled'] / 2**20:.0f} MiB after the first "
        f"tenth, {memory['end'] / 2**20:.0f} MiB at the end. ({provenance(record).removesuffix('.')}; "
        "`benchmarks/speed/video.py`.)"
    )


def _folder_in_words(record: Record) -> str:
    """Throughput of a folder, against its slowest stage, and memory."""
    folder, memory = record["folder"], record["memory"]
    rate, slowest = folder["faces_per_second"], folder["slowest"]
    lists = " and ".join(f"{one['bytes'] / 2**20:.0f} MiB for {one['length']}" for one in memory[-2:])
    return (
        f"Reading, detecting, aligning and classifying overlap: {rate['overlapped']['median']:.1f} faces per second, "
        f"{folder['overlap_gains']['median']:.2f} times as many as one picture after the other and "
        f"{100 * folder['reached']['median']:.0f} % of what the slowest stage ({slowest}) allows alone. `--profile` "
        f"prints the same for your pictures. Memory stays flat: {lists} pictures."
    )


def _cold_start_in_words(record: Record) -> str:
    """Seconds to the first answer by engine, and what most of them go into."""
    answers = ", ".join(
        f"{row['answer']['median']:.2f} s on {WAYS[row['engine']]} (imports {row['seconds']['imports']['median']:.2f})"
        for row in record["rows"]
    )
    return f"From the start of `apvit recognize photo.jpg` to its answer: {answers}. An export needs no torch."


def in_two_lines(results: Results) -> str | None:
    """What it means for a user, for README.md; None where `apvit_tiny` was not measured."""
    if "engines" not in results:
        return None
    rows, made = results["engines"]["rows"], results["engines"]["machine"]
    one, many = (_fastest(rows, "apvit_tiny", batch) for batch in (1, 32))
    if one is None or many is None:
        return None
    text = (
        f"**Speed** ([what to choose](docs/speed.md), [how it was measured](benchmarks/speed/README.md)): on "
        f"{made['cores']} cores of an {made['processor']}, `apvit_tiny` names {digits(many['faces_per_second'])} faces "
        f"per second ({WAYS[many['engine']]}), a single one in {digits(one['ms_per_face']['median'])} ms "
        f"({WAYS[one['engine']]})"
    )
    if (base := _fastest(rows, "apvit_base", 8)) is not None:
        text += (
            f"; the paper's model takes {digits(base['ms_per_face']['median'])} ms per face, "
            f"{base['times_official']['median']:.2f} times as fast as its official formulation on the same machine"
        )
    return text + "." + (f" {_beside_fer(results['peers'])}" if "peers" in results else "")


def _beside_fer(record: Record) -> str:
    """One sentence on whole programs, our fastest against the package fer; "" where fer did not run."""
    ran = [one for one in record["contenders"] if "reason" not in one]
    fer = [one for one in ran if one["name"].startswith("fer")]
    alike = [one for one in ran if one["name"].endswith("as fer")]
    if not fer or not alike:
        return ""
    best = max(alike, key=lambda one: one["faces_per_second"]["median"])
    usual = next(one for one in ran if one["name"] == best["name"].removesuffix(", as fer"))
    rates = sorted(one["faces_per_second"]["median"] for one in fer)
    starts = sorted(one["cold_seconds"]["median"] for one in fer)
    return (
        f"From picture files to names it recognises {usual['faces_per_second']['median']:.0f} faces per second, or "
        f"{best['faces_per_second']['median']:.0f} where it seeks none below 50 px, as the package `fer` does, which "
        f"recognises {rates[0]:.0f} to {rates[-1]:.0f}; its first answer comes {best['cold_seconds']['median']:.1f} s "
        f"after the start, that of `fer` {starts[0]:.1f} to {starts[-1]:.1f} s."
    )


def every_setting(dial: Record | None) -> str:
    """All figures of the dial, for benchmarks/dial/README.md."""
    if dial is None:
        return NOT_YET
    picture = "![Accuracy against time on two engines; time of apvit_base against what it executes](dial.png)"
    means = what_the_dial_means(dial)
    note = "Times in bold are on the front that was chosen on one half of the faces."
    return "\n\n".join((provenance(dial), picture, means, choices_table(dial), note, dial_table(dial)))


def what_the_dial_means(record: Record) -> str:
    """Three sentences: what may be saved, whether what is dropped was missed, how far the paper's model turns."""
    bundled, paper = record["networks"]
    curve, other = _main_curve(bundled), _main_curve(paper)
    choice = next(one for one in curve["choices"] if one["loss"] > 0)
    chosen, time = bundled["settings"][choice["setting"]], curve["of_own"][choice["setting"]]["median"]
    everything = _most(bundled)
    whole = bundled["settings"][everything]
    least, most = min(range(len(paper["settings"])), key=lambda n: paper["settings"][n]["macs"]), _most(paper)
    works = [paper["settings"][n]["macs"] / paper["settings"][0]["macs"] for n in (least, most)]
    times = [other["of_own"][n]["median"] for n in (least, most)]
    return (
        f"Where {100 * choice['loss']:g} points of accuracy may be lost, `{bundled['name']}` with `--keep "
        f"{chosen['keep']}` takes {time:.2f} of the time it takes as it was trained ({WAYS[curve['engine']]}, "
        f"{curve['batch']} at once), and on faces that had no part in choosing this its validation accuracy changes by "
        f"{points(chosen['reporting'])} points. Keeping everything takes {curve['of_own'][everything]['median']:.2f} "
        f"of the time and changes accuracy by {points(whole['reporting'])}, {_told_apart(whole['reporting'])}. "
        f"`{paper['name']}` goes from {times[0]:.2f} of its time with `--keep {paper['settings'][least]['keep']}` "
        f"({works[0]:.2f} of what it executes) to {times[1]:.2f} with everything kept ({works[1]:.2f}; "
        f"{WAYS[other['engine']]}, {other['batch']} at once; random weights, time only)."
    )


def _main_curve(network: Record) -> Record:
    """On the fastest engine, which stands first, with most faces at once."""
    largest = max(curve["batch"] for curve in network["curves"])
    found: Record = next(curve for curve in network["curves"] if curve["batch"] == largest)
    return found


def _most(network: Record) -> int:
    """The number of the setting that computes most: everything is kept."""
    return max(range(len(network["settings"])), key=lambda number: network["settings"][number]["macs"])


def _told_apart(row: Record) -> str:
    low, high = row["interval"]
    if low <= 0 <= high:
        return "which these faces do not tell apart from no change"
    return "a gain" if low > 0 else "a loss"


def _choice(record: Record) -> str:
    """A row for each network and engine, alone and in large batches."""
    rows = []
    by = {(row["subject"], row["batch"], row["engine"]): row for row in record["rows"]}
    for name in dict.fromkeys(row["subject"] for row in record["rows"]):
        own = [row for row in record["rows"] if row["subject"] == name]
        batches = [row["batch"] for row in own]
        few, many = min(batches), max(batches)
        for engine in dict.fromkeys(row["engine"] for row in own if row["engine"] not in BASELINES):
            alone, together = by[name, few, engine], by[name, many, engine]
            rows.append(
                [
                    f"`{name}`",
                    WAYS[engine],
                    digits(alone["ms_per_face"]["median"]),
                    f"{digits(together['ms_per_face']['median'])} ({many} at once)",
                    digits(together["faces_per_second"]),
                    f"{together['times_official']['median']:.2f}",
                ]
            )
    headings = ("network", "engine", "ms, one face", "ms per face, many", "faces/s", "times the official formulation")
    note = (
        "The network alone, without finding faces. Networks that had no bundled weights then were measured with "
        "random ones: their time is the same, and they recognise nothing."
    )
    return f"{table(headings, rows)}\n\n{note}"


def _saved(record: Record) -> str:
    rows = [
        [
            f"`{row['subject']}`",
            str(row["batch"]),
            WAYS.get(row["engine"], "the official formulation"),
            percent(row["compute_saved"]),
            percent(row["time_saved"]["median"]),
        ]
        for row in record["rows"]
    ]
    return table(("network", "faces at once", "run by", "compute saved", "time saved"), rows)


def _detail_of_peers(record: Record) -> str:
    pictures = ", ".join(f"{name} ({faces})" for name, faces in record["true_faces"].items())
    versions = ", ".join(f"{name} {version}" for name, version in record["fer"].items())
    left_out = "; ".join(f"{name}: {reason}" for name, reason in record["left_out"].items())
    failed = "; ".join(f"{one['name']}: {one['reason']}" for one in record["contenders"] if "reason" in one)
    return (
        f"Whole programs, one picture after the other, from the file to the names: {pictures} faces. "
        f"{f'With {versions}. ' if versions else ''}{f'Does not run here: {failed}. ' if failed else ''}"
        f"Not measured: {left_out}."
    )


def _own_table(name: str, record: Record) -> str:
    """The table as the script itself prints it; its imports are those of a script, which finds its neighbours."""
    sys.path.insert(0, str(HERE))
    try:
        text: str = import_module(name).table(record)
    finally:
        sys.path.remove(str(HERE))
    return text


def _fastest(rows: list[Record], name: str, batch: int) -> Record | None:
    found = [row for row in rows if (row["subject"], row["batch"]) == (name, batch) and row["engine"] not in BASELINES]
    return max(found, key=lambda row: row["faces_per_second"], default=None)
