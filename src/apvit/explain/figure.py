"""Pictures of explanations: one face with everything known about it, and a gallery of many by expression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from apvit.files import counted

from .drawing import (
    FAINT,
    INK,
    SHOWN,
    SMALL,
    TITLE,
    Picture,
    enlarged,
    new_figure,
    show_kept,
    show_map,
    show_picture,
    show_probabilities,
)
from .explanation import Explanation
from .tracing import Corners

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TILE = 1.75
"""Inches of a tile in the picture of one face."""
SMALL_TILE = 1.25
"""Inches of a tile in a gallery."""
AROUND = 0.3
"""What is shown of the photograph around the aligned square, as a share of its side."""
OPEN = "left open"
KEY = (
    "Dark patches were dropped, the line runs around the kept ones. In maps yellow is much, blue little, bare grey "
    "none; the maps of relevance share one scale."
)


def draw_explanation(
    explanation: Explanation, title: str | None = None, *, photograph: npt.NDArray[np.uint8] | None = None
) -> Figure:
    """One face: aligned, APP's scores, survivors after each block; attention, relevance, probabilities.

    With the photograph [H, W, 3] that the face was found in, also the survivors at their place in it. Of an expression
    that is left open the picture says so.
    """
    stages = survivors(explanation)
    columns = max(2 + len(stages), 5)
    placed = None if photograph is None or explanation.corners is None else _around(photograph, explanation.corners)
    ratios = [1.0] * columns if placed is None else [2.1, *[1.0] * columns]
    figure = new_figure(TILE * sum(ratios) + 0.3, 2 * TILE + 1.5)
    grid = figure.add_gridspec(2, len(ratios), width_ratios=ratios)
    if title is not None:
        figure.suptitle(title, fontsize=13, color=INK, x=0.008, ha="left")
    figure.supxlabel(KEY, fontsize=SMALL, color=FAINT, x=0.008, ha="left")
    if placed is not None:
        picture, corners = placed
        last = explanation.alive[-1]
        show_kept(figure.add_subplot(grid[:, 0]), picture, last, "in the photograph: what is left", corners=corners)
    first = len(ratios) - columns
    above = [figure.add_subplot(grid[0, first + i]) for i in range(2 + len(stages))]
    below = [figure.add_subplot(grid[1, first + i]) for i in range(3)]
    face, patches = enlarged(explanation.face), explanation.kept.size
    show_picture(above[0], face, "aligned face\nas the network sees it")
    scores = explanation.patch_scores
    show_map(above[1], face, scores, "score of each patch\n(APP)", low=float(scores.min()), high=float(scores.max()))
    for place, (name, mask) in zip(above[2:], stages, strict=True):
        show_kept(place, face, mask, f"{name}\n{int(mask.sum())} of {patches} patches")
    attention = explanation.attention.mean(0)
    show_map(below[0], face, attention, "class token's attention\n(all blocks)", low=0.0, high=float(attention.max()))
    largest = max(float(values.max()) for values in explanation.relevance.values())
    for place, (name, values) in zip(below[1:], explanation.relevance.items(), strict=False):
        show_map(place, face, values, f"relevance:\nspoke for {name}", low=0.0, high=largest)
    bars = figure.add_subplot(grid[1, first + 3 :])
    show_probabilities(bars, explanation.probabilities, explanation.expression, explanation.min_probability)
    if explanation.expression is None:
        bars.set_title(f"probabilities: expression {OPEN}", fontsize=TITLE, color=INK)
    return figure


class Gallery:
    """Collects the clearest faces of each expression, as the paper's qualitative figures show them.

    order: the expressions, in the order of the rows; most: faces of each that are kept, the most probable ones.
    """

    def __init__(self, order: Sequence[str], most: int = 6):
        self.most = most
        self._faces: dict[str, list[Explanation]] = {name: [] for name in (*order, OPEN)}
        self._seen = dict.fromkeys(self._faces, 0)

    def add(self, explanation: Explanation) -> None:
        """Take one face; the least probable of its expression goes where there are more than `most`."""
        name = explanation.expression or OPEN
        self._seen[name] += 1
        faces = self._faces[name]
        faces.append(explanation)
        faces.sort(key=lambda one: -one.probabilities[one.likeliest])
        del faces[self.most :]

    def __len__(self) -> int:
        return sum(len(faces) for faces in self._faces.values())

    def draw(self, columns: int = 3) -> Figure:
        """A band for each expression that occurs; of every face the crop, what is left of it, and what spoke for it.

        Raises ValueError where there is no face.
        """
        if not len(self):
            raise ValueError("a gallery needs at least one face")
        shown = {name: faces for name, faces in self._faces.items() if faces}
        columns = min(columns, max(len(faces) for faces in shown.values()))
        rows = [
            (name if start == 0 else None, faces[start : start + columns])
            for name, faces in shown.items()
            for start in range(0, len(faces), columns)
        ]
        # A label, and then for each face three tiles and a gap; above all a line of headings.
        ratios = [0.95, *[1.0, 1.0, 1.0, 0.12] * columns]
        figure = new_figure(SMALL_TILE * sum(ratios), SMALL_TILE * 1.06 * len(rows) + 0.75)
        heights = [0.12, *[1.0] * len(rows)]
        grid = figure.add_gridspec(1 + len(rows), len(ratios), width_ratios=ratios, height_ratios=heights)
        for i in range(columns):
            for k, heading in enumerate(("aligned face", "what is left", "what spoke for it")):
                place = figure.add_subplot(grid[0, 1 + 4 * i + k])
                place.set_axis_off()
                place.text(0.5, 0, heading, fontsize=TITLE, color=INK, ha="center", va="bottom")
        for row, (name, faces) in enumerate(rows, 1):
            if name is not None:
                label = figure.add_subplot(grid[row, 0])
                label.set_axis_off()
                count = counted(self._seen[name], "face")
                if self._seen[name] > self.most:
                    count = f"{self.most} of {self._seen[name]} faces"
                label.text(0, 0.5, name, fontsize=11, weight="bold", color=INK, va="bottom")
                label.text(0, 0.42, count, fontsize=SMALL, color=FAINT, va="top")
            for i, explanation in enumerate(faces):
                _show_in_gallery([figure.add_subplot(grid[row, 1 + 4 * i + k]) for k in range(3)], explanation)
        figure.supxlabel(KEY.partition(";")[0] + ".", fontsize=SMALL, color=FAINT, x=0.008, ha="left")
        return figure


def survivors(explanation: Explanation) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    """What to show of pooling: after APP, and after each block that dropped something."""
    first = "all patches kept" if explanation.kept.all() else "kept by APP"
    stages, before = [(first, explanation.kept)], int(explanation.kept.sum())
    for block, mask in enumerate(explanation.alive, 1):
        if int(mask.sum()) < before:
            stages.append((f"after block {block} (ATP)", mask))
            before = int(mask.sum())
    return stages


def _show_in_gallery(tiles: Sequence[Axes], explanation: Explanation) -> None:
    """The crop with its probability, what is left of it, and the relevance on a scale of its own."""
    face, likeliest = enlarged(explanation.face), explanation.likeliest
    values = explanation.relevance[likeliest]
    show_picture(tiles[0], face)
    show_kept(tiles[1], face, explanation.alive[-1])
    show_map(tiles[2], face, values, low=0.0, high=float(values.max()))
    said = f"{explanation.probabilities[likeliest]:.2f}"
    if explanation.expression is None:
        said = f"{likeliest} {said}"
    box = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1.5}
    tiles[0].text(10, SHOWN - 12, said, fontsize=SMALL, color="white", va="bottom", bbox=box)


def _around(photograph: npt.NDArray[np.uint8], corners: Corners) -> tuple[Picture, Corners]:
    """The part of the photograph around the face, its longer side about 2 * SHOWN pixels, and the corners in it."""
    height, width = photograph.shape[:2]
    low, high = corners.min((0, 1)), corners.max((0, 1))
    margin = AROUND * (high - low).max()
    left, top = np.clip(np.floor(low - margin), 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(high + margin), (left + 1, top + 1), (width, height)).astype(int)
    part = Image.fromarray(photograph[top:bottom, left:right])
    scale = 2 * SHOWN / max(part.size)
    size = (max(1, round(part.width * scale)), max(1, round(part.height * scale)))
    picture = np.asarray(part.resize(size, Image.Resampling.BICUBIC), dtype=np.float64) / 255
    return picture, (corners - (left, top)) * (size[0] / part.width, size[1] / part.height)
