"""The pictures of reports, in colours that people with colour blindness can tell apart (Okabe & Ito 2008)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import EvaluationError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
)
LINES = ((BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (PURPLE, "D"), (ORANGE, "v"), (SKY, "P"), (BLACK, "X"))
"""Colour and marker of each weight file; the marker says it again without colour."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches; ImportError names the extra where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("pictures need matplotlib: pip install 'apvit[figures]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def draw_confusion(figures: dict[str, Any], title: str) -> Figure:
    """The confusion matrix: colour and large number the share of the true class, small number the faces."""
    counts = np.array(figures["confusion"])
    names = list(figures["per_class"])
    faces = counts.sum(1)
    shares = counts / np.maximum(faces, 1)[:, None]
    side = 2.2 + 0.72 * len(names)
    figure = new_figure(side + 0.8, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for true, said in np.ndindex(counts.shape):
        if not counts[true, said]:
            continue
        ink = "white" if shares[true, said] > 0.55 else "black"
        weight = "bold" if true == said else "normal"
        axes.text(said, true - 0.1, f"{shares[true, said]:.0%}", color=ink, weight=weight, ha="center", va="center")
        axes.text(said, true + 0.26, f"{counts[true, said]:,}", color=ink, fontsize=7, ha="center", va="center")
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), [f"{name} ({n:,})" for name, n in zip(names, faces, strict=True)])
    axes.set(xlabel="predicted", ylabel="labelled (faces)", title=title)
    axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="0.85", linewidth=0.8)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, label="share of the labelled class")
    bar.outline.set_visible(False)
    return figure


def draw_reliability(figures: dict[str, Any], title: str) -> Figure:
    """Accuracy over confidence, a point with its interval for each bin, and below it how many faces lie in each."""
    rows = [row for row in figures["reliability"] if row["faces"]]
    sure, right = (np.array([row[name] for row in rows]) for name in ("confidence", "accuracy"))
    low, high = np.array([row["interval"] for row in rows]).T
    figure = new_figure(5.6, 6.4)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot((0, 1), (0, 1), color="0.4", linestyle="--", linewidth=1, label="calibrated", zorder=1)
    above.vlines(sure, right, sure, color=VERMILION, linewidth=5, alpha=0.6, label="gap", zorder=2)
    bars = np.maximum((right - low, high - right), 0)  # rounding may put an end on the wrong side by a hair
    style = {"color": BLUE, "fmt": "o", "markersize": 5, "linewidth": 1.2, "capsize": 2, "zorder": 3}
    above.errorbar(sure, right, bars, label="accuracy, 95 % interval", **style)
    above.set(ylabel="accuracy", ylim=(0, 1.02))
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    ece_low, ece_high = figures["intervals"]["ece"]
    figure.suptitle(f"{title}\nECE {figures['ece']:.3f} [{ece_low:.3f}, {ece_high:.3f}]", fontsize=11)
    left, width = [row["low"] for row in rows], figures["reliability"][0]["high"]
    below.bar(left, [row["faces"] for row in rows], width, align="edge", color="0.55", edgecolor="white")
    below.set(xlabel="confidence (probability of the predicted expression)", ylabel="faces", xlim=(0, 1.02))
    for axes in (above, below):
        _plain(axes)
    return figure


def draw_curves(panels: list[dict[str, Any]], names: list[str], title: str) -> Figure:
    """Small multiples: accuracy over severity with its interval, one line for each weight file of `names`."""
    figure, grid = _small_multiples(panels, names, title, "accuracy")
    for axes, panel in zip(grid, panels, strict=True):
        for row, style in zip(panel["results"], LINES, strict=False):
            _band(axes, row, *style)
        axes.set_ylim(0, 1)
    figure.legend(grid[0].get_lines(), names, loc="outside lower center", ncols=min(4, len(names)), frameon=False)
    return figure


def draw_differences(panels: list[dict[str, Any]], names: list[str], title: str) -> Figure:
    """Small multiples: how much more or less accurate than the first each further weight file is, over severity."""
    figure, grid = _small_multiples(panels, names, title, f"difference of accuracy to {names[0]}")
    for axes, panel in zip(grid, panels, strict=True):
        axes.axhline(0, color="0.3", linewidth=1)
        for row, style in zip(panel["results"][1:], LINES[1:], strict=False):
            _band(axes, row["difference"], *style)
    lines = grid[0].get_lines()[1:]
    figure.legend(lines, names[1:], loc="outside lower center", ncols=min(4, len(names)), frameon=False)
    return figure


def _small_multiples(
    panels: list[dict[str, Any]], names: list[str], title: str, quantity: str
) -> tuple[Figure, list[Axes]]:
    """A figure and one labelled pair of axes for each panel, sharing the vertical one."""
    if len(names) > len(LINES):
        raise EvaluationError(f"a picture shows at most {len(LINES)} weight files, not {len(names)}: give fewer")
    columns = min(5, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(1.6 + 2.6 * columns, 1.2 + 2.5 * rows)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        axes.set_xticks(
            range(len(panel["levels"])), ["clean", *(f"{level:g}" for level in panel["levels"][1:])], fontsize=8
        )
        axes.set_title(panel["title"], fontsize=10, loc="left")
        axes.set_xlabel(panel["unit"], fontsize=8)
        _plain(axes)
    for axes in grid[:, 0]:
        axes.set_ylabel(quantity)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    figure.suptitle(f"{title}; bands are 95 % intervals", fontsize=11)
    return figure, list(grid.flat[: len(panels)])


def _band(axes: Axes, curve: dict[str, Any], colour: str, marker: str) -> None:
    steps = range(len(curve["accuracy"]))
    axes.fill_between(steps, curve["low"], curve["high"], color=colour, alpha=0.18, linewidth=0)
    axes.plot(steps, curve["accuracy"], color=colour, marker=marker, markersize=4, linewidth=1.5)


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
