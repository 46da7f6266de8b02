"""The tiles that pictures of explanations are made of: a face, a map over it, what was kept of it, probabilities."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from .tracing import Corners, face_corners, patch_of_pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Picture = npt.NDArray[np.float64]
"""[H, W, 3] in 0..1."""

SHOWN = 384
"""Pixels that a face is enlarged to, so that maps have smooth edges over it."""
DPI = 110
SEQUENTIAL = "cividis"
"""Evenly rising in lightness, the same to colour-blind eyes."""
INK, FAINT, BAR, WINNER, LINE = "#1f2328", "#57606a", "#9aa4af", "#0072b2", "#f0e442"
TITLE, SMALL = 9.5, 8.5
DARKENED, STRIPES = 0.22, 0.22
"""How much light is left where patches were dropped, and the light of the stripes there: they show on dark hair too."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches; ImportError names the extra where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("pictures need matplotlib: pip install 'apvit[figures]'") from error
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def as_picture(figure: Figure) -> Image.Image:
    """The figure as pixels, RGB."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")


def enlarged(face: npt.NDArray[np.uint8]) -> Picture:
    """An aligned face, grey or RGB, as [SHOWN, SHOWN, 3] in 0..1."""
    image = Image.fromarray(face).convert("RGB").resize((SHOWN, SHOWN), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float64) / 255


def show_picture(axes: Axes, picture: Picture, title: str = "") -> None:
    """A picture alone."""
    axes.imshow(picture, interpolation="bilinear")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title, fontsize=TITLE, color=INK, linespacing=1.25)


def show_map(
    axes: Axes, face: Picture, values: npt.NDArray[np.float32], title: str = "", *, low: float, high: float
) -> None:
    """A map [grid, grid] over the greyed face: from `low`, where nothing covers the face, to `high`, bright yellow."""
    from matplotlib import colormaps

    share = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    smooth = Image.fromarray(share.astype(np.float32)).resize((SHOWN, SHOWN), Image.Resampling.BICUBIC)
    weight = np.asarray(smooth).clip(0, 1)
    grey = np.repeat(face.mean(-1, keepdims=True), 3, axis=-1) * 0.85
    colour = colormaps[SEQUENTIAL](weight)[..., :3]
    # The square root lets middling values be seen too.
    opacity = 0.85 * np.sqrt(weight)[..., None]
    show_picture(axes, grey * (1 - opacity) + colour * opacity, title)


def show_kept(
    axes: Axes, picture: Picture, mask: npt.NDArray[np.bool_], title: str = "", *, corners: Corners | None = None
) -> None:
    """The picture with dropped patches darkened and a line around the kept ones.

    mask [grid, grid]; corners: of the patches, in pixels of the picture from its edges (None: it is the aligned face).
    """
    from matplotlib.collections import LineCollection

    if corners is None:
        corners = face_corners(len(mask), len(picture))
    patches = patch_of_pixels(corners, picture.shape)
    dropped = ~np.append(mask.ravel(), True)[patches]  # what lies off the face stays as it is
    third = max(6.0, float(np.hypot(*(corners[0, 1] - corners[0, 0]))) / 3)
    x, y = np.arange(picture.shape[1]), np.arange(picture.shape[0])[:, None]
    striped = ((x + y) % third) < third / 4
    dark = picture * DARKENED + STRIPES * striped[..., None]
    show_picture(axes, np.where(dropped[..., None], dark, picture), title)
    lines = LineCollection(outline(mask, corners - 0.5), colors=LINE, linewidths=1.0, capstyle="round")
    lines.set_clip_on(False)  # half of the line lies outside where the border of the face is kept
    axes.add_collection(lines, autolim=False)


def outline(mask: npt.NDArray[np.bool_], corners: Corners) -> list[npt.NDArray[np.float64]]:
    """The sides [2, 2] of patches that part the ones in the mask from the others."""
    padded = np.pad(mask, 1)
    upper = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])
    left = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])
    sides = [corners[(row, row), (column, column + 1)] for row, column in upper]
    return sides + [corners[(row, row + 1), (column, column)] for row, column in left]


def show_probabilities(axes: Axes, probabilities: dict[str, float], winner: str | None, needed: float = 0.0) -> None:
    """Bars of all expressions, the likeliest first, the winner's in colour; `needed` is a line where there is one."""
    items = sorted(probabilities.items(), key=lambda item: item[1])
    values = [value for _, value in items]
    colours = [WINNER if name == winner else BAR for name, _ in items]
    axes.barh(range(len(items)), values, color=colours, height=0.66)
    for y, (name, value) in enumerate(items):
        # Inside the axes, where names take no room from the tiles beside.
        axes.text(-0.03, y, name, va="center", ha="right", fontsize=TITLE, color=INK)
        # On white, so that the line of what is needed does not cross the figure.
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        axes.text(value + 0.025, y, f"{value:.2f}", va="center", fontsize=SMALL, color=INK, bbox=ground)
    if needed > 0:
        axes.axvline(needed, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        axes.text(needed, -0.75, f"needed: {needed:.2f}", va="top", ha="center", fontsize=SMALL, color=INK)
    axes.set_xlim(-0.5, 1.15)
    axes.set_axis_off()
    axes.set_title("probabilities", fontsize=TITLE, color=INK)
