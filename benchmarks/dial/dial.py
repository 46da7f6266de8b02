"""The compute dial: accuracy against time over keep schedules, from few patches to everything, without retraining.

For the bundled weights every setting that `apvit tune` tries, on FER+ validation: the Pareto front is chosen on one
half of the faces, and accuracies are reported on the other half. For apvit_base, of which no trained weights ship,
random weights and time alone. Times are relative to the setting a network was trained with: all settings take turns,
on the fastest engine that is installed and on torch, and ratios are taken within rounds. Accuracy is measured on torch;
an export is proved to answer as torch does when it is made.

    python benchmarks/dial/dial.py                                     # with prepared/ferplus
    python benchmarks/dial/dial.py --faces 200 --seconds 0.05          # a try

writes dial.json and dial.png beside this file in about six minutes of two quiet cores.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "speed"))

from records import machine, options, ratios, spread, write_record
from result_tables import WAYS, choices_table, dial_table
from subjects import find_subject, identify, installed_engines, open_engine, workplace

from apvit.data import Split, open_split
from apvit.engines import Engine
from apvit.engines.timing import random_faces, take_turns
from apvit.evaluation.drawings import BLUE, VERMILION, new_figure
from apvit.evaluation.tuning import (
    Goal,
    Setting,
    candidate_settings,
    draw_faces,
    open_settings,
    pareto_front,
    tune,
)
from apvit.files import write_figure
from apvit.weights import Card, find_weights, read_card

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BUNDLED, PAPER = "apvit_tiny", "apvit_base"
BATCHES = {BUNDLED: (1, 32), PAPER: (1, 4)}
"""Faces at once; the last stands in the picture."""
FEW = (0.3, 0.5, None)
"""Patches kept of apvit_base beside its own: each export of it takes seconds and a quarter of a gigabyte."""
LOSSES = (0.0, 0.005, 0.01)
"""Accuracy that may be lost, as a fraction of 1, for which the fastest setting is published."""
SEED = 0

Times = dict[str, dict[int, list[list[float]]]]
"""Seconds per call by engine and batch: a list of rounds for each setting."""


def main() -> None:
    parser = options(__doc__, "dial", 0.5, "seconds for each setting, engine and batch")
    parser.add_argument("--data", default="prepared/ferplus", help="FER+ (default: prepared/ferplus)")
    parser.add_argument("--faces", type=int, help="validation faces, drawn by the seed (default: all)")
    parser.set_defaults(output=Path(__file__).with_name("dial.json"))
    arguments = parser.parse_args()
    made = machine()
    split = open_split(arguments.data, "valid")
    with workplace(arguments.folder) as folder:
        engines = list(dict.fromkeys((fastest_engine(BUNDLED, BATCHES[BUNDLED][-1], folder), "torch")))
        networks = [
            turn_dial(BUNDLED, engines, folder, arguments.seconds, split, arguments.faces),
            turn_dial(PAPER, engines, folder, arguments.seconds),
        ]
    meta = split.metadata
    record = {
        "weights": identify(find_weights(BUNDLED)),
        "measured_on": {"dataset": meta.dataset, "split": meta.split, "protocol": meta.protocol},
        "accuracy_on": "torch",
        "seed": SEED,
        "networks": networks,
    }
    write_record(arguments.output, {**record, "seconds": arguments.seconds, "machine": made})
    write_figure(arguments.output.with_suffix(".png"), draw(record))
    print(f"{dial_table(record)}\n\n{choices_table(record)}")


def fastest_engine(name: str, batch: int, folder: Path) -> str:
    """The engine that runs the network `name` fastest here."""
    weights = find_subject(name, folder).weights
    x = random_faces(read_card(weights), batch)
    calls = {engine: partial(open_engine(weights, engine).run, x) for engine in installed_engines()[0]}
    taken = take_turns(calls, 0.5)
    return min(taken, key=lambda engine: median(taken[engine]))


def turn_dial(
    name: str,
    engines: Sequence[str],
    folder: Path,
    seconds: float,
    split: Split | None = None,
    faces: int | None = None,
) -> dict[str, Any]:
    """The settings of the network `name` with their times, as JSON values; with a split their accuracies too."""
    subject = find_subject(name, folder)
    card = read_card(subject.weights)
    settings = candidate_settings(card)
    if split is None:
        settings = few_settings(card, settings)
    opened = {}
    for engine in engines:
        place = folder / f"{name}-dial-{engine}"
        place.mkdir(exist_ok=True)
        opened[engine] = open_settings(str(subject.weights), settings, engine, place, "cpu")
    times = time_settings(opened, BATCHES[name], seconds)
    described: list[dict[str, Any]] = [describe(setting) for setting in settings]
    if split is not None:
        drawn = draw_faces(card, split, faces, SEED)
        ms = 1000 * np.array(times[engines[0]][BATCHES[name][-1]]).T / BATCHES[name][-1]
        # The times are those published: the search measures none of its own.
        _, found = tune(
            settings,
            opened["torch"],
            drawn,
            Goal(accuracy_loss=LOSSES[0]),
            timing=lambda *_: ms,
            timed_batch=BATCHES[name][-1],
            seed=SEED,
        )
        parts = ("all", "choosing", "reporting")
        described = [
            one | {part: row[part] for part in parts} for one, row in zip(described, found["settings"], strict=True)
        ]
    return {
        "name": name,
        "random": subject.random,
        "settings": described,
        "curves": [
            curve(engine, batch, times[engine][batch], described) for batch in BATCHES[name] for engine in engines
        ],
    }


def few_settings(card: Card, settings: Sequence[Setting]) -> list[Setting]:
    """Of all settings those of FEW, and the card's own, dropping tokens as the card does and not at all."""
    own = settings[0].keep
    schedules = (own.tokens, (1,) * int(card.parameters["depth"]))
    return [one for one in settings if one.keep.patches in (own.patches, *FEW) and one.keep.tokens in schedules]


def time_settings(opened: Mapping[str, Sequence[Engine]], batches: Sequence[int], seconds: float) -> Times:
    """Seconds per call of every setting on every engine; those of one batch size all take turns."""
    times: Times = {engine: {} for engine in opened}
    for batch in batches:
        calls = {
            f"{engine} {number}": partial(one.run, random_faces(one.card, batch))
            for engine, settings in opened.items()
            for number, one in enumerate(settings)
        }
        taken = take_turns(calls, seconds)
        for engine, settings in opened.items():
            times[engine][batch] = [taken[f"{engine} {number}"] for number in range(len(settings))]
    return times


def describe(setting: Setting) -> dict[str, Any]:
    """A setting as JSON values."""
    return {
        "keep": str(setting.keep),
        "patches": setting.patches,
        "tokens": list(setting.tokens),
        "macs": setting.macs,
    }


def curve(
    engine: str, batch: int, taken: Sequence[Sequence[float]], settings: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The times of all settings on one engine: milliseconds per face, and relative to the first, the card's own.

    Where accuracies were measured: `front`, the numbers of the settings on the Pareto front of accuracy on the choosing
    half against time, fastest first; `choices`, the fastest setting for each of LOSSES on the choosing half.
    """
    of_own = [ratios(rounds, taken[0]) for rounds in taken]
    found = {
        "engine": engine,
        "batch": batch,
        "rounds": len(taken[0]),
        "ms_per_face": [spread([1000 * seconds / batch for seconds in rounds]) for rounds in taken],
        "of_own": of_own,
    }
    if "choosing" not in settings[0]:
        return found
    cost, gain = [one["median"] for one in of_own], [one["choosing"]["difference"] for one in settings]
    front = np.flatnonzero(pareto_front(cost, gain))
    return {
        **found,
        "front": sorted(front.tolist(), key=cost.__getitem__),
        "choices": [{"loss": loss, "setting": Goal(accuracy_loss=loss).choose(cost, gain)} for loss in LOSSES],
    }


def draw(record: Mapping[str, Any]) -> Figure:
    """Left, for each engine: accuracy on the reporting half against time. Right: what the dial does to time alone."""
    bundled, paper = record["networks"]
    largest = {network["name"]: max(one["batch"] for one in network["curves"]) for network in record["networks"]}
    curves = [one for one in bundled["curves"] if one["batch"] == largest[bundled["name"]]]
    figure = new_figure(4.4 * (1 + len(curves)), 5)
    *left, right = figure.subplots(1, 1 + len(curves))
    for axes in left[1:]:
        axes.sharex(left[0])
        axes.sharey(left[0])
    for axes, one in zip(left, curves, strict=True):
        _draw_front(axes, bundled, one)
    left[0].set_ylabel("validation accuracy above its own, points")
    _draw_times(right, paper, [one for one in paper["curves"] if one["batch"] == largest[paper["name"]]])
    handles, labels = left[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=4, frameon=False, fontsize=9)
    faces = bundled["settings"][0]["reporting"]["faces"]
    figure.suptitle(
        f"The compute dial, without retraining. Accuracy: {faces:,} FER+ validation faces that had no part in choosing "
        "the front, 95 % intervals",
        fontsize=11,
    )
    return figure


def _draw_front(axes: Axes, network: Mapping[str, Any], curve: Mapping[str, Any]) -> None:
    settings, front = network["settings"], curve["front"]
    time = np.array([[row[name] for name in ("low", "median", "high")] for row in curve["of_own"]])
    gain = 100 * np.array([one["reporting"]["difference"] for one in settings])
    ends = 100 * np.array([one["reporting"]["interval"] for one in settings])
    across = np.maximum((time[:, 1] - time[:, 0], time[:, 2] - time[:, 1]), 0)
    up = np.maximum((gain - ends[:, 0], ends[:, 1] - gain), 0)
    rest = [number for number in range(len(settings)) if number not in front]
    axes.axhline(0, color="0.7", linewidth=1, zorder=0)
    axes.axvline(1, color="0.7", linewidth=1, zorder=0)
    axes.plot(time[rest, 1], gain[rest], "o", color="0.65", markersize=4, label="other settings", zorder=1)
    style: dict[str, Any] = {
        "fmt": "o-",
        "color": BLUE,
        "markersize": 5,
        "linewidth": 1.3,
        "elinewidth": 1,
        "zorder": 2,
    }
    label = "Pareto front, with the patches kept"
    axes.errorbar(time[front, 1], gain[front], up[:, front], across[:, front], capsize=2, label=label, **style)
    first = {settings[number]["patches"]: number for number in reversed(front)}  # one label where points crowd
    for patches, number in first.items():
        above: dict[str, Any] = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center", "fontsize": 8}
        above["color"] = BLUE
        axes.annotate(str(patches), (time[number, 1], 100 * settings[number]["reporting"]["interval"][1]), **above)
    own = {"markersize": 10, "markerfacecolor": "none", "markeredgewidth": 2, "linestyle": "none", "zorder": 3}
    axes.plot(1, 0, "s", color=VERMILION, label=f"as trained, {settings[0]['patches']} patches", **own)
    everything = max(range(len(settings)), key=lambda number: settings[number]["macs"])
    axes.plot(time[everything, 1], gain[everything], "D", color="black", label="everything kept", **own)
    axes.set_title(f"{network['name']}, {WAYS[curve['engine']]}, {curve['batch']} at once", fontsize=10, loc="left")
    axes.set_xlabel("time, as trained = 1")
    axes.xaxis.get_major_locator().set_params(nbins=6)
    _plain(axes)


def _draw_times(axes: Axes, network: Mapping[str, Any], curves: Sequence[Mapping[str, Any]]) -> None:
    settings = network["settings"]
    compute = np.array([one["macs"] for one in settings]) / settings[0]["macs"]
    order = np.argsort(compute)
    axes.axline((1, 1), slope=1, color="0.6", linestyle="--", linewidth=1, label="as the compute", zorder=0)
    for one, (colour, marker) in zip(curves, ((BLUE, "o"), (VERMILION, "s")), strict=False):
        time = np.array([[row[name] for name in ("low", "median", "high")] for row in one["of_own"]])[order]
        bars = np.maximum((time[:, 1] - time[:, 0], time[:, 2] - time[:, 1]), 0)
        style: dict[str, Any] = {"color": colour, "fmt": marker, "markersize": 5, "linewidth": 1, "capsize": 2}
        axes.errorbar(compute[order], time[:, 1], bars, label=WAYS[one["engine"]], **style)
    axes.set_title(f"{network['name']} (random weights), {curves[0]['batch']} at once", fontsize=10, loc="left")
    axes.set(xlabel="multiply-accumulates executed, as published = 1", ylabel="time, as published = 1")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
