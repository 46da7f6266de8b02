"""The picture of a run: loss and selection figures over epochs."""

from __future__ import annotations

from pathlib import Path

from .folder import Metrics, write_file


def draw_curves(metrics: Metrics, picture: Path, title: str, split: str) -> None:
    """Draw the losses and the figures on `split`, the one selected on, into a PNG."""
    from matplotlib.figure import Figure

    def series(name: str) -> list[tuple[int, float]]:
        return [(epoch + 1, values[name]) for epoch, values in sorted(metrics.items()) if name in values]

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    where = {"valid": "validation"}.get(split, split)
    losses = {"train_loss": ("training", "#0072b2"), f"{split}_loss": (f"{where}, moving average", "#d55e00")}
    figures = {
        f"{split}_accuracy": ("accuracy", "#0072b2"),
        f"{split}_mean_class_accuracy": ("mean class accuracy", "#d55e00"),
        f"{split}_macro_f1": ("macro-F1", "#009e73"),
    }
    for axes, lines in ((left, losses), (right, figures)):
        for name, (label, colour) in lines.items():
            if points := series(name):
                axes.plot(*zip(*points, strict=True), label=label, color=colour, marker=".")
    left.set(xlabel="epoch", ylabel="loss", title="Loss")
    if accuracies := series(f"{split}_accuracy"):
        epoch, best = max(accuracies, key=lambda pair: pair[1])
        right.annotate(
            f"{best:.4f}", (epoch, best), xytext=(0, 8), textcoords="offset points", ha="center", color="#0072b2"
        )
    right.set(xlabel="epoch", title=f"{where.capitalize()}, moving average", ylim=(0, 1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, loc="lower right" if axes is right else "upper right")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    write_file(picture, lambda file: figure.savefig(file, dpi=120, format="png"))
