"""How cost grows with batch, input size, keep rate, depth, and faces per picture; fitted, and drawn.

Everything is `apvit_tiny` with one thing changed. All settings of one axis take turns. Fitted are a + b x by least
squares, and for the input size a power of it.

    python benchmarks/speed/growth.py

writes growth.json and growth.png beside this file in about four minutes of two quiet cores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pictures import CROWD, crowd
from records import machine, options, spread, write_record
from result_tables import describe_fit, growth_table, holds
from subjects import find_subject, installed_engines, open_engine, random_weights, workplace

import apvit
from apvit.engines import Keep
from apvit.engines.timing import random_faces, take_turns
from apvit.evaluation.drawings import LINES, new_figure
from apvit.files import write_figure
from apvit.weights import read_card

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "apvit_tiny"
BATCHES = (1, 2, 4, 8, 16, 32, 64)
SIDES = (32, 48, 64, 80, 96, 128)
RATES = (0.2, 0.4, 0.6, 0.8, 1.0)
DEPTHS = (1, 2, 4, 6, 8, 12)
FACES = (0, 1, 2, 4, 8, 16, 32)
TILE = 240
BATCH = 8
"""Faces at once on the axes where the batch is not what changes."""

Calls = dict[float, Callable[[], object]]


def main() -> None:
    arguments = options(__doc__, "growth", 0.5, "seconds for each point").parse_args()
    made = machine()
    engines = [engine for engine in installed_engines()[0] if engine != "openvino"]  # one exported engine says enough
    with workplace(arguments.folder) as folder:
        axes = [
            measure_axis(axis, {engine: axis.make(folder, engine) for engine in engines}, arguments.seconds)
            for axis in AXES
        ]
    record = {"architecture": NAME, "axes": axes, "seconds": arguments.seconds, "threads": torch.get_num_threads()}
    write_record(arguments.output, {**record, "machine": made})
    write_figure(arguments.output.with_suffix(".png"), draw(record))
    print(growth_table(record))


def by_batch(folder: Path, engine: str) -> Calls:
    weights = find_subject(NAME, folder).weights
    run = open_engine(weights, engine).run
    return {batch: partial(run, random_faces(read_card(weights), batch)) for batch in BATCHES}


def by_side(folder: Path, engine: str) -> Calls:
    def changed(side: int) -> dict[str, Any]:
        return {"image_size": side, "patch_keep": 118 / 144}  # apvit_tiny's count of 12 x 12 patches, as a rate

    return _by_architecture(folder, engine, "side", {side: changed(side) for side in SIDES})


def by_depth(folder: Path, engine: str) -> Calls:
    def changed(depth: int) -> dict[str, Any]:
        half = depth // 2
        return {"depth": depth, "token_keep": (1,) * (depth - half) + (0.9,) * half}  # as published, in the later half

    return _by_architecture(folder, engine, "depth", {depth: changed(depth) for depth in DEPTHS})


def by_rate(folder: Path, engine: str) -> Calls:
    weights = find_subject(NAME, folder).weights
    x = random_faces(read_card(weights), BATCH)
    keeps = {rate: Keep(None if rate == 1 else rate) for rate in RATES}
    return {rate: partial(open_engine(weights, engine, keep).run, x) for rate, keep in keeps.items()}


def by_faces(folder: Path, engine: str) -> Calls:
    """Pictures whose faces are found, framed and recognised; the key is how many are found."""
    weights = find_subject(NAME, folder).weights
    open_engine(weights, engine)  # exports it where it is not
    recognizer = apvit.Recognizer(weights, engine=engine, device="cpu")
    scenes = [crowd(faces, TILE) for faces in FACES]
    return {len(recognizer(scene)): partial(recognizer, scene) for scene in scenes}


def _by_architecture(folder: Path, engine: str, axis: str, changes: Mapping[int, dict[str, Any]]) -> Calls:
    calls: Calls = {}
    for value, changed in changes.items():
        path = folder / f"{NAME}-{axis}-{value}.safetensors"
        if not path.exists():
            random_weights(path, NAME, **changed)
        calls[value] = partial(open_engine(path, engine).run, random_faces(read_card(path), BATCH))
    return calls


@dataclass(frozen=True)
class Axis:
    """One thing that is changed."""

    title: str
    x: str
    y: str
    per: int
    """By what a call's time is divided."""
    law: str
    """Which law is fitted, see `fit`."""
    make: Callable[[Path, str], Calls]
    """Folder for weights, and engine -> a call for each value."""


_EACH = f"ms per face, {BATCH} at once"
AXES = (
    Axis("batch", "faces at once", "ms per call", 1, "line", by_batch),
    Axis("input size", "side in pixels", _EACH, BATCH, "power", by_side),
    Axis("keep rate", "share of the patches kept", _EACH, BATCH, "line", by_rate),
    Axis("depth", "blocks", _EACH, BATCH, "line", by_depth),
    Axis("faces per picture", f"faces in {CROWD[0]} × {CROWD[1]} px", "ms per picture", 1, "line", by_faces),
)


def measure_axis(axis: Axis, calls: Mapping[str, Calls], seconds: float) -> dict[str, Any]:
    """One axis as JSON values: for each engine its points, and the law fitted to their medians."""
    points = [(engine, x, call) for engine, own in calls.items() for x, call in own.items()]
    taken = take_turns({f"{engine} {x}": call for engine, x, call in points}, seconds)
    curves: dict[str, dict[str, Any]] = {engine: {"points": []} for engine in calls}
    for engine, x, _ in points:
        ms = spread([1000 * one / axis.per for one in taken[f"{engine} {x}"]])
        curves[engine]["points"].append({"x": x, "ms": ms})
    for curve in curves.values():
        curve["fit"] = fit([(point["x"], point["ms"]["median"]) for point in curve["points"]], axis.law)
    return {"title": axis.title, "x": axis.x, "y": axis.y, "curves": curves}


def fit(points: Sequence[tuple[float, float]], law: str) -> dict[str, float]:
    """Least squares through (x, y): {a, b} of y = a + b x ("line"), {c, exponent} of y = c x^exponent ("power").

    The line weighs relative errors, as a large batch would otherwise decide alone. r2 is the share of the variance of
    what was fitted, y or log y, that it explains.
    """
    x, y = np.array(points, dtype=float).T
    if law == "power":
        exponent, logarithm = np.polyfit(np.log(x), np.log(y), 1)
        r2 = _explained(np.log(y), logarithm + exponent * np.log(x))
        return {"c": float(np.exp(logarithm)), "exponent": float(exponent), "r2": r2}
    b, a = np.polyfit(x, y, 1, w=1 / y)
    return {"a": float(a), "b": float(b), "r2": _explained(y, a + b * x)}


def fitted(fit: Mapping[str, float], x: Any) -> Any:
    """The value of the fit at x."""
    return fit["c"] * x ** fit["exponent"] if "exponent" in fit else fit["a"] + fit["b"] * x


def _explained(y: Any, predicted: Any) -> float:
    return float(1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def draw(record: dict[str, Any]) -> Figure:
    """Small multiples, one for each axis: medians with quartiles, and the fits."""
    figure = new_figure(11.5, 7)
    panels = list(figure.subplots(2, 3).flat)
    for axes, axis in zip(panels, record["axes"], strict=False):
        _draw_axis(axes, axis)
    for axes in panels[len(record["axes"]) :]:
        axes.set_visible(False)
    figure.suptitle(
        f"{record['architecture']}: what costs how much; medians and quartiles, lines are fits", fontsize=11
    )
    return figure


def _draw_axis(axes: Axes, axis: dict[str, Any]) -> None:
    for (engine, curve), (colour, marker) in zip(axis["curves"].items(), LINES, strict=False):
        x = np.array([point["x"] for point in curve["points"]], dtype=float)
        low, middle, high = (
            np.array([point["ms"][name] for point in curve["points"]]) for name in ("low", "median", "high")
        )
        bars = np.maximum((middle - low, high - middle), 0)
        style = {"color": colour, "fmt": marker, "markersize": 5, "linewidth": 1, "capsize": 2}
        axes.errorbar(x, middle, bars, **style)
        line = np.linspace(x.min(), x.max(), 100)
        along = fitted(curve["fit"], line) if holds(curve["fit"]) else np.full_like(line, np.nan)
        label = f"{engine}: {describe_fit(curve['fit'])}"
        axes.plot(line, along, color=colour, linewidth=1.2, marker=marker, markevery=[], label=label)
    axes.set_title(axis["title"], fontsize=10, loc="left")
    axes.set(xlabel=axis["x"], ylabel=axis["y"])
    whole = all(float(point["x"]).is_integer() for curve in axis["curves"].values() for point in curve["points"])
    axes.xaxis.get_major_locator().set_params(integer=whole)
    axes.set_ylim(0, 1.2 * axes.get_ylim()[1])  # room for the legend
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
