"""The result files as tables in Markdown, for the terminal and for the pages that `benchmarks/figures.py` fills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]

WAYS = {"torch": "torch", "torch, compiled": "torch, compiled", "onnx": "ONNX Runtime", "openvino": "OpenVINO"}
DATASETS = {"ferplus": "FER+"}
SPLITS = {"train": "training", "valid": "validation", "test": "test"}
EXPLAINED = 0.8
"""Share of the variance that a fitted law must explain to be published."""


def engines_table(record: Record) -> str:
    """Every way to run every weight file, with its ratios to the two baselines."""
    rows, before = [], None
    for row in record["rows"]:
        case = (row["subject"], row["batch"])
        rows.append(
            [
                *(("", "") if case == before else (_name(row), str(row["batch"]))),
                row["engine"],
                _quartiles(row["ms_per_face"], digits),
                digits(row["faces_per_second"]),
                f"{row['times_official']['median']:.2f}",
                f"{row['times_plain']['median']:.2f}",
                percent(row["of_peak"]),
            ]
        )
        before = case
    headings = ("network", "batch", "run by", "ms/face (quartiles)", "faces/s", "x official", "x ours eager", "of peak")
    gflops, side = record["peak_gflops"], record["gemm_side"]
    product = f"float32 matrix products of side {side} (on ONNX Runtime, the fastest at hand)"
    peak = f"Peak: {gflops:.0f} GFLOP/s, the best of many {product}."
    return f"{table(headings, rows)}\n\n{peak}"


def targets_table(record: Record) -> str:
    """What was asked for, and what the fastest engine reached."""
    rows = [
        [
            one["subject"],
            str(one["batch"]),
            one["what"],
            f"{'at most' if one['at_most'] else 'at least'} {one['wanted']:g}",
            f"{one['measured']:.3g}",
            one["engine"],
            "yes" if one["met"] else "**no**",
        ]
        for one in record["targets"]
    ]
    return table(("network", "batch", "what", "asked for", "reached", "by", "met"), rows)


def pooling_table(record: Record) -> str:
    """The share of time that pooling saves beside the share of compute."""
    rows, before = [], None
    for row in record["rows"]:
        case = (row["subject"], row["batch"])
        rows.append(
            [
                *(("", "") if case == before else (_name(row), str(row["batch"]))),
                row["engine"],
                digits(row["ms_per_face_off"]["median"]),
                digits(row["ms_per_face_on"]["median"]),
                percent(row["compute_saved"], 1),
                _quartiles(row["time_saved"], lambda share: percent(share, 1)),
            ]
        )
        before = case
    headings = ("network", "batch", "run by", "ms/face off", "on", "compute saved", "time saved (quartiles)")
    return table(headings, rows)


def growth_table(record: Record) -> str:
    """The fitted laws."""
    rows = [
        [axis["title"], axis["y"], engine, describe_fit(curve["fit"]), f"{curve['fit']['r2']:.3f}"]
        for axis in record["axes"]
        for engine, curve in axis["curves"].items()
    ]
    return table(("what grows, x", "what it costs", "run by", "fit", "R²"), rows)


def holds(fit: Mapping[str, float]) -> bool:
    """Whether the law explains the points; below, they scatter too much to speak of one."""
    return fit["r2"] >= EXPLAINED


def describe_fit(fit: Mapping[str, float]) -> str:
    """The fitted law as a formula."""
    if not holds(fit):
        return "none: the points scatter"
    if "exponent" in fit:
        return f"{fit['c']:.2g} x^{fit['exponent']:.2f}"
    sign = "−" if fit["b"] < 0 else "+"
    return f"{fit['a']:.3g} {sign} {abs(fit['b']):.3g} x"


def peers_table(record: Record) -> str:
    """Whole programs on the same pictures."""
    total = sum(record["true_faces"].values())
    rows = [
        [
            one["name"],
            *(
                ["does not run here", "", "", "", ""]
                if "reason" in one
                else [
                    f"{one['cold_seconds']['median']:.1f}",
                    digits(one["faces_per_second"]["median"]),
                    *([digits(1000 * one["seconds_per_picture"]["median"])]),
                    f"{sum(one['faces'].values())} of {total}",
                    f"{one['peak_mib']:.0f}",
                ]
            ),
        ]
        for one in record["contenders"]
    ]
    headings = ("program", "s to the first answer", "faces/s", "ms/picture", "faces found", "peak MiB")
    return table(headings, rows)


def memory_table(record: Record) -> str:
    """Peak memory of fresh processes."""
    return table(("process", "peak MiB"), [[row["what"], f"{row['peak_mib']:.0f}"] for row in record["rows"]])


def int8_table(record: Record) -> str:
    """What int8 costs in accuracy, and what it gains in time and size."""
    costs = [
        [
            WAYS[engine],
            percent(row["accuracy_float32"], 2),
            percent(row["accuracy"], 2),
            points(row),
            percent(row["same_expression"], 1),
            percent(row["patches_kept"], 1),
            percent(row["tokens_kept"], 1),
        ]
        for engine, row in record["engines"].items()
    ]
    gains = [
        [
            WAYS[row["engine"]],
            str(row["batch"]),
            digits(row["ms_per_face_float32"]["median"]),
            digits(row["ms_per_face_int8"]["median"]),
            _quartiles(row["times_float32"], "{:.2f}".format),
        ]
        for row in record["rows"]
    ]
    measured, calibrated, size = record["measured_on"], record["calibrated_on"], record["bytes"]
    faces = next(iter(record["engines"].values()))["faces"]
    kept = "; ".join(f"{reason} ({count})" for reason, count in record["float32_layers"].items())
    about = (
        f"`{record['weights']['name']}`, {record['int8_layers']} convolutions and linear layers in int8, calibrated on "
        f"{calibrated['faces']} faces of {_split(calibrated)}; in float32 stay {kept}. The file has "
        f"{size['int8'] / 1e6:.1f} MB instead of {size['float32'] / 1e6:.1f}. Accuracy is on the {faces:,} faces of "
        f"{_split(measured)}."
    )
    headings = (
        *("run by", "float32", "int8", "difference, points (95 % interval)"),
        *("same expression", "patches kept by both", "last tokens kept by both"),
    )
    times = ("run by", "faces at once", "ms/face float32", "int8", "times as fast (quartiles)")
    return "\n\n".join((about, table(headings, costs), table(times, gains)))


def dial_table(record: Record) -> str:
    """Every setting of the dial: what it computes, what it gains in accuracy, and its time; fronts in bold."""
    parts = []
    for network in record["networks"]:
        settings, curves = network["settings"], network["curves"]
        measured = "reporting" in settings[0]
        rows = [
            [
                f"`{setting['keep']}`" + (" (its own)" if number == 0 else ""),
                f"{setting['macs'] / 1e6:,.0f}",
                *([points(setting["reporting"])] if measured else []),
                *(_relative_time(curve, number) for curve in curves),
            ]
            for number, setting in sorted(enumerate(settings), key=lambda pair: -pair[1]["macs"])
        ]
        headings = ("`--keep`", "MMAC", *(["points to its own (95 % interval)"] if measured else []))
        ways = [f"time, {WAYS[curve['engine']]}, {curve['batch']} at once" for curve in curves]
        parts += [f"**{_subject(network)}**", table((*headings, *ways), rows)]
    return "\n\n".join(parts)


def choices_table(record: Record) -> str:
    """The fastest setting for a loss that one half of the faces allowed, with what the other half says of it."""
    rows = []
    for network in record["networks"]:
        for curve in network["curves"]:
            for choice in curve.get("choices", ()):
                setting = network["settings"][choice["setting"]]
                rows.append(
                    [
                        f"{100 * choice['loss']:g}",
                        f"{WAYS[curve['engine']]}, {curve['batch']} at once",
                        f"`{setting['keep']}`",
                        _relative_time(curve, choice["setting"], bold=False),
                        points(setting["reporting"]),
                    ]
                )
    headings = ("points that may be lost", "run by", "fastest `--keep`", "time", "points to its own, on the other half")
    return table(headings, sorted(rows, key=lambda row: float(row[0])))


def _relative_time(curve: Record, number: int, *, bold: bool = True) -> str:
    text = _quartiles(curve["of_own"][number], "{:.2f}".format)
    return f"**{text}**" if bold and number in curve.get("front", ()) else text


def _subject(network: Record) -> str:
    return f"{network['name']} (random weights, time only)" if network["random"] else network["name"]


def points(row: Record) -> str:
    """A difference of accuracies in percentage points with its interval: {difference, interval}."""
    mean, low, high = (f"{100 * value:+.2f}".replace("-", "−") for value in (row["difference"], *row["interval"]))
    return f"{mean} ({low} to {high})"


def _split(of: Record) -> str:
    return f"{DATASETS.get(of['dataset'], of['dataset'])} {SPLITS.get(of['split'], of['split'])}"


def provenance(record: Record) -> str:
    """One line: when, on what, with what."""
    made = record["machine"]
    names = ("torch", "onnxruntime", "openvino")
    versions = ", ".join(f"{name} {made['packages'][name]}" for name in names if made["packages"].get(name))
    return (
        f"{made['date'][:10]}, {made['processor']}, {made['cores']} cores, {made['memory_gib']:.0f} GiB; {versions}; "
        f"commit {(made['commit'] or 'unknown')[:10]}."
    )


def digits(value: float) -> str:
    """Three digits, or all before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def percent(share: float, places: int = 0) -> str:
    """A share as a percentage."""
    return f"{100 * share:.{places}f} %".replace("-", "−")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns stand below each other in a terminal too."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = [headings, ["-" * width for width in widths], *rows]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )


def _name(row: Record) -> str:
    return f"{row['subject']} (random weights)" if row["random"] else row["subject"]


def _quartiles(values: Mapping[str, float], write: Any) -> str:
    return f"{write(values['median'])} ({write(values['low'])} to {write(values['high'])})"
