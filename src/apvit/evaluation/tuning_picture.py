"""The report of a search on the compute dial: the curve of accuracy over cost, and its figures as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from apvit.files import write_figure, write_whole

from .drawings import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def write_tuning(folder: str | Path, record: dict[str, Any], title: str) -> None:
    """Write tune.json and tune.png into `folder`; `record` is that of `tune`. OSError where the disk refuses."""
    folder = Path(folder)
    write_figure(folder / "tune.png", draw_tuning(record, title))
    write_whole(folder / "tune.json", json.dumps(record, indent=1) + "\n")


def draw_tuning(record: dict[str, Any], title: str) -> Figure:
    """Every setting's accuracy above the card's own with its interval, over milliseconds and over multiply-accumulates.

    All faces are drawn; the figure of the choice on the faces that had no part in it stands in the heading.
    """
    rows, chosen = record["settings"], record["settings"][record["chosen"]]
    figure = new_figure(10.5, 5.2)
    left, right = figure.subplots(1, 2, sharey=True)
    batch = record["timed_batch"]
    _curve(left, record, np.array([row["ms"] for row in rows]), "by_ms")
    left.set(xlabel=f"ms per face, {batch} at once (median)", ylabel="accuracy above the card's own, points")
    _curve(right, record, np.array([row["macs"] / 1e6 for row in rows]), "by_macs")
    right.set(xlabel="million multiply-accumulates executed per face")
    goal = record["goal"]
    if goal["budget_ms"] is not None:
        left.axvline(goal["budget_ms"], color="0.3", linestyle=":", linewidth=1.2, label="budget")
    else:
        for axes in (left, right):
            axes.axhline(-100 * goal["accuracy_loss"], color="0.3", linestyle=":", linewidth=1.2, label="loss allowed")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    low, high = (100 * end for end in chosen["reporting"]["interval"])
    figure.suptitle(
        f"{title}, {record['faces']:,} faces; bars are paired 95 % intervals\n"
        f"chosen: keep {chosen['keep']}, on {chosen['reporting']['faces']:,} faces that had no part in the choice "
        f"{100 * chosen['reporting']['difference']:+.2f} [{low:+.2f}, {high:+.2f}] points",
        fontsize=10,
    )
    return figure


def _curve(axes: Axes, record: dict[str, Any], cost: Any, front: str) -> None:
    rows = record["settings"]
    gain = 100 * np.array([row["all"]["difference"] for row in rows])
    ends = 100 * np.array([row["all"]["interval"] for row in rows])
    bars = np.maximum((gain - ends[:, 0], ends[:, 1] - gain), 0)  # a percentile may lie beyond the figure itself
    on = np.array([row[front] for row in rows])
    axes.axhline(0, color="0.7", linewidth=1, zorder=0)
    faint: dict[str, Any] = {"fmt": "o", "color": "0.6", "markersize": 4, "linewidth": 0.7, "zorder": 1}
    axes.errorbar(cost[~on], gain[~on], bars[:, ~on], label="beaten by another", **faint)
    order = np.flatnonzero(on)[np.argsort(cost[on], kind="stable")]
    best: dict[str, Any] = {
        "fmt": "o-",
        "color": BLUE,
        "markersize": 5,
        "linewidth": 1.3,
        "elinewidth": 1,
        "capsize": 2,
        "zorder": 2,
    }
    best["drawstyle"] = "steps-post"  # between two settings, the cheaper one is all that can be had
    axes.errorbar(cost[order], gain[order], bars[:, order], label="Pareto front", **best)
    marks: dict[str, Any] = {
        "markersize": 11,
        "markerfacecolor": "none",
        "markeredgewidth": 2,
        "linestyle": "none",
        "zorder": 3,
    }
    axes.plot(cost[0], gain[0], "s", color=VERMILION, label=f"the card's own, {rows[0]['keep']}", **marks)
    at = record["chosen"]
    axes.plot(cost[at], gain[at], "D", color=GREEN, label=f"chosen, {rows[at]['keep']}", **marks)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
