"""What a run came to: the best epoch, the last one, the gap between them, and the test split where it was read."""

from __future__ import annotations

from typing import Any

from .export import FIGURES


def summarise(
    select: str, best: dict[str, Any], last: dict[str, Any], *, train_faces: int, epochs: int
) -> dict[str, Any]:
    """The contents of summary.json, from what `export` gives for both; `select` is the split selected on.

    "gap" is the best epoch's figures less the last one's: how much is due to picking an epoch.
    """
    summary = {
        "train_faces": train_faces,
        "epochs": epochs,
        "select": select,
        "runtime": best["runtime"],
        "best": {"epoch": best["epoch"], **best[select]},
        "last": {"epoch": last["epoch"], **last[select]},
        "gap": {name: best[select][name] - last[select][name] for name in FIGURES},
    }
    if select != "test" and "test" in best:
        summary["test"] = {"epoch": best["epoch"], **best["test"]}
    return summary


def describe(summary: dict[str, Any]) -> str:
    """The summary in sentences, one a line."""
    best, last = summary["best"], summary["last"]
    lines = [
        f"best epoch {best['epoch']} of {summary['epochs']}: {_figures(best)} on {summary['select']}",
        f"last epoch {last['epoch']}: {_figures(last)}; the gap in accuracy is {summary['gap']['accuracy']:.4f}",
    ]
    if test := summary.get("test"):
        lines.append(f"test, read once, with the best epoch: {_figures(test)}")
    if summary["select"] == "test":
        lines.append("the epoch was selected on test, so that its figures are not those of unseen faces")
    return "\n".join(lines)


def _figures(figures: dict[str, Any]) -> str:
    return (
        f"accuracy {figures['accuracy']:.4f}, mean class accuracy {figures['mean_class_accuracy']:.4f}, "
        f"macro-F1 {figures['macro_f1']:.4f} ({figures['faces']:,} faces)"
    )
