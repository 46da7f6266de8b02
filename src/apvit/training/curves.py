"""The picture of a run: loss and validation figures over epochs."""

from __future__ import annotations

import csv
from pathlib import Path


def read_metrics(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Lightning's metrics.csv as {name: [(epoch, value), ...]}; epochs count from 1."""
    series: dict[str, list[tuple[int, float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if name not in ("epoch", "step") and value:
                    series.setdefault(name, []).append((int(row["epoch"]) + 1, float(value)))
    return series


def draw_curves(metrics: Path, picture: Path, title: str) -> None:
    """Draw the losses and the validation figures of metrics.csv into a PNG."""
    from matplotlib.figure import Figure

    series = read_metrics(metrics)
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    styles = {"train_loss": ("training", "#0072b2"), "valid_loss": ("validation, moving average", "#d55e00")}
    for name, (label, colour) in styles.items():
        if name in series:
            left.plot(*zip(*series[name], strict=True), label=label, color=colour, marker=".")
    left.set(xlabel="epoch", ylabel="cross-entropy", title="Loss")
    figures = {
        "valid_accuracy": ("accuracy", "#0072b2"),
        "valid_mean_class_accuracy": ("mean class accuracy", "#d55e00"),
        "valid_macro_f1": ("macro-F1", "#009e73"),
    }
    for name, (label, colour) in figures.items():
        if name in series:
            right.plot(*zip(*series[name], strict=True), label=label, color=colour, marker=".")
    if "valid_accuracy" in series:
        epoch, best = max(series["valid_accuracy"], key=lambda pair: pair[1])
        right.annotate(
            f"{best:.4f}", (epoch, best), xytext=(0, 8), textcoords="offset points", ha="center", color="#0072b2"
        )
    right.set(xlabel="epoch", title="Validation, moving average", ylim=(0, 1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, loc="lower right" if axes is right else "upper right")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    figure.savefig(picture, dpi=120)
