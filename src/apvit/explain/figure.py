"""The picture of an explanation: the face, what pooling kept of it, and what spoke for the likeliest expressions."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 384
"""Pixels that a face is enlarged to, so that maps have smooth edges over it."""
DPI = 110
SEQUENTIAL = "cividis"
"""Evenly rising in lightness, the same to colour-blind eyes."""
INK, FAINT, BAR, WINNER = "#1f2328", "#6e7781", "#9aa4af", "#0072b2"


def draw_explanation(explanation: Explanation, title: str | None = None) -> Figure:
    """One face in a row: aligned face, APP's scores, survivors after each block, relevance, probabilities."""
    from matplotlib.figure import Figure

    stages = survivors(explanation)
    width = 2 + len(stages) + len(explanation.relevance)
    figure = Figure(figsize=(2.0 * width + 2.6, 2.75), layout="constrained", facecolor="white")
    grid = figure.add_gridspec(1, width + 1, width_ratios=[1.0] * width + [1.25])
    axes = [figure.add_subplot(grid[0, i]) for i in range(width + 1)]
    if title is not None:
        figure.suptitle(title, fontsize=11, color=INK, x=0.008, ha="left")
    face = _enlarged(explanation.face)
    show_face(axes[0], face, "aligned face")
    kept, patches = int(explanation.kept.sum()), explanation.kept.size
    show_map(axes[1], face, explanation.patch_scores, "patch scores (APP)", strength=0.75)
    for place, (name, mask) in zip(axes[2:], stages, strict=False):
        show_kept(place, face, mask, f"{name}\n{int(mask.sum())} of {patches} patches")
    axes[1].set_title(f"patch scores (APP)\nbest {kept} kept", fontsize=8.5, color=INK)
    largest = max(float(values.max()) for values in explanation.relevance.values())
    for place, (name, values) in zip(axes[2 + len(stages) :], explanation.relevance.items(), strict=False):
        show_map(place, face, values, f"spoke for\n{name}", top=largest)
    draw_probabilities(axes[-1], explanation.probabilities)
    return figure


def draw_panel(explanations: Sequence[Explanation], columns: int = 4) -> Figure:
    """A gallery: for each face the crop, what survived to the last block, and the relevance of its expression."""
    from matplotlib.figure import Figure

    columns = min(columns, len(explanations))
    rows = -(-len(explanations) // columns)
    figure = Figure(figsize=(3.6 * columns, 1.55 * rows), layout="constrained", facecolor="white")
    axes = figure.subplots(rows, 3 * columns, squeeze=False)
    for place in axes.flat:
        place.set_axis_off()
    for i, explanation in enumerate(explanations):
        row, column = divmod(i, columns)
        face = _enlarged(explanation.face)
        left, middle, right = axes[row, 3 * column : 3 * column + 3]
        show_face(left, face, "")
        probability = explanation.probabilities[explanation.expression]
        middle.set_title(f"{explanation.expression} {probability:.2f}", fontsize=9, color=INK)
        show_kept(middle, face, explanation.alive[-1], middle.get_title())
        show_map(right, face, explanation.relevance[explanation.expression], "")
    return figure


def as_picture(figure: Figure) -> Image.Image:
    """The figure as pixels, RGB."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")


def survivors(explanation: Explanation) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    """What to show of pooling: after APP, and after each block that dropped something."""
    stages, before = [("after APP", explanation.kept)], int(explanation.kept.sum())
    for block, mask in enumerate(explanation.alive, 1):
        if int(mask.sum()) < before:
            stages.append((f"after block {block}", mask))
            before = int(mask.sum())
    return stages


def show_face(axes: Axes, face: npt.NDArray[np.float64], title: str) -> None:
    """The face alone."""
    axes.imshow(face, interpolation="bilinear")
    _frame(axes, title)


def show_map(
    axes: Axes,
    face: npt.NDArray[np.float64],
    values: npt.NDArray[np.float32],
    title: str,
    *,
    top: float | None = None,
    strength: float = 0.85,
) -> None:
    """A map [grid, grid] over the greyed face: the more, the lighter and the more opaque."""
    from matplotlib import colormaps

    low = float(values.min()) if top is None else 0.0
    high = float(values.max()) if top is None else top
    share = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    smooth = np.asarray(
        Image.fromarray(share.astype(np.float32)).resize((SHOWN, SHOWN), Image.Resampling.BICUBIC)
    ).clip(0, 1)
    grey = np.repeat(face.mean(-1, keepdims=True), 3, axis=-1) * 0.8
    colour = colormaps[SEQUENTIAL](smooth)[..., :3]
    opacity = (strength * smooth)[..., None]
    axes.imshow(grey * (1 - opacity) + colour * opacity)
    _frame(axes, title)


def show_kept(axes: Axes, face: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_], title: str) -> None:
    """The face with what was dropped darkened, and a line around what was kept."""
    grid = len(mask)
    large = np.kron(mask, np.ones((SHOWN // grid, SHOWN // grid), bool))
    shown = np.where(_fit(large)[..., None], face, face * 0.18)
    axes.imshow(shown)
    steps = np.linspace(-0.5, SHOWN - 0.5, grid + 1)
    padded = np.pad(mask, 1)
    segments = []
    for row, column in zip(*np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1]), strict=True):
        segments.append(((steps[column], steps[row]), (steps[column + 1], steps[row])))
    for row, column in zip(*np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1]), strict=True):
        segments.append(((steps[column], steps[row]), (steps[column], steps[row + 1])))
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(segments, colors="#f0e442", linewidths=0.9))
    _frame(axes, title)


def draw_probabilities(axes: Axes, probabilities: dict[str, float]) -> None:
    """Bars of all expressions, the likeliest first."""
    items = sorted(probabilities.items(), key=lambda item: item[1])
    names, values = [name for name, _ in items], [value for _, value in items]
    colours = [BAR] * (len(items) - 1) + [WINNER]
    axes.barh(names, values, color=colours, height=0.62)
    for y, value in enumerate(values):
        axes.text(value + 0.02, y, f"{value:.2f}", va="center", fontsize=7.5, color=INK)
    axes.set_xlim(0, 1.18)
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0, labelsize=8, labelcolor=INK)
    axes.spines[:].set_visible(False)
    axes.set_title("probabilities", fontsize=8.5, color=INK)


def _frame(axes: Axes, title: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=8.5, color=INK)


def _enlarged(face: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """[SHOWN, SHOWN, 3] in 0..1."""
    image = Image.fromarray(face).convert("RGB").resize((SHOWN, SHOWN), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float64) / 255


def _fit(mask: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """A mask whose side is not quite SHOWN, because the grid does not divide it, stretched to it."""
    image = Image.fromarray(mask).resize((SHOWN, SHOWN), Image.Resampling.NEAREST)
    return np.asarray(image)
