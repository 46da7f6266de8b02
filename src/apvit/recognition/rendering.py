"""Annotated pictures: every face in a box, with its expression, the probabilities, and the patches pooling kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw

from apvit.recognition.labels import COLOURS, FINE, GROUND, Colour, Label, same_size
from apvit.recognition.placement import Box, place_labels
from apvit.recognition.results import Face

if TYPE_CHECKING:
    from apvit.faces.alignment import AlignmentTemplate

SMALLEST = 640
"""Pictures with a shorter long side are enlarged to it, so that there is room for legible text."""

SHADE, HATCH, OUTLINE = 150, 70, 150
"""Opacity 0..255 over dropped patches, of the hatching on them, and of the line around the aligned square."""
COVERED = 0.03
"""Share of the labels' area that may lie over faces before the labels are shortened."""
PALE: Colour = (240, 240, 240)

Corners: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pooling:
    """How patch ids map to the face: `grid` x `grid` patches, row by row, over the face aligned to `template`.

    template None: over the whole picture (detector "none").
    """

    grid: int
    template: AlignmentTemplate | None


def annotate(picture: npt.NDArray[np.uint8], faces: Sequence[Face], *, pooling: Pooling | None = None) -> Image.Image:
    """`picture` ([H, W, 3] uint8 RGB) with a box and a label for each face, as a new RGB image.

    Each label gives the expression, its probability and, where all labels have room beside the faces, bars for the
    rest. With `pooling`, the patches that the network dropped are darkened. Line and text sizes follow the picture's; a
    picture under `SMALLEST` pixels is enlarged, and one that a single face fills gets a margin for the label.
    """
    height, width = picture.shape[:2]
    scale = max(1.0, SMALLEST / max(width, height))
    canvas = Image.fromarray(picture)
    if scale > 1:
        canvas = canvas.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BICUBIC)
    if not faces:
        return canvas
    boxes = [_visible(face.box, canvas.size, scale) for face in faces]
    text = _text_size(canvas.size, boxes)
    line = max(2, round(text / 8))
    taken = list(boxes)
    for i, face in enumerate(faces):
        if pooling is not None and face.patches is not None:
            corners = _corners(face, pooling, (height, width)) * scale
            _shade_dropped(canvas, face.patches, corners, line)
            taken[i] = _around(boxes[i], corners, canvas.size)
    for face, box in zip(faces, boxes, strict=True):
        draw_box(canvas, box, COLOURS[face.expression], line)
    labels = [
        Label.of(face, number if len(faces) > 1 else None, text, _note(face, pooling))
        for number, face in enumerate(faces, 1)
    ]
    canvas, labels, places = _arrange(canvas, taken, labels, 2 * line)
    for label, place in zip(labels, places, strict=True):
        label.draw(canvas, place)
    return canvas


def _visible(box: Box, size: tuple[int, int], scale: float) -> Box:
    """The box in canvas pixels, cut at the picture's edges."""
    x1, x2 = (min(max(x * scale, 0.0), size[0] - 1.0) for x in (box[0], box[2]))
    y1, y2 = (min(max(y * scale, 0.0), size[1] - 1.0) for y in (box[1], box[3]))
    return (x1, y1, x2, y2)


def _text_size(size: tuple[int, int], boxes: Sequence[Box]) -> float:
    """Title size in pixels: a share of the picture, less where its faces are small, never too small to read."""
    share = 0.027 * math.sqrt(size[0] * size[1])
    legible = max(13.0, 0.0075 * max(size))
    return max(legible, min(share, 0.16 * median(y2 - y1 for _, y1, _, y2 in boxes)))


def _note(face: Face, pooling: Pooling | None) -> str | None:
    if pooling is None or face.patches is None:
        return None
    return f"sees {len(face.patches)} of {pooling.grid**2} patches"


def _around(box: Box, corners: Corners, size: tuple[int, int]) -> Box:
    """The box enlarged to hold the patches too, within the canvas."""
    x1, y1 = corners.min((0, 1)).tolist()
    x2, y2 = corners.max((0, 1)).tolist()
    return (
        max(0.0, min(box[0], x1)),
        max(0.0, min(box[1], y1)),
        min(size[0], max(box[2], x2)),
        min(size[1], max(box[3], y2)),
    )


def _arrange(
    canvas: Image.Image, boxes: list[Box], labels: list[Label], gap: float
) -> tuple[Image.Image, list[Label], list[Box]]:
    """The canvas, widened where one face leaves no room, and the labels with their places.

    All labels show as many bars as have room for all: a picture of a crowd is easier to read when they look alike.
    """
    bars = len(labels[0].bars)
    for count in (bars, min(bars, 3), 0):
        shown = [label.shortened(count) for label in labels]
        size = same_size(shown)
        places, cost = place_labels(boxes, size, canvas.size, gap)
        room = cost <= COVERED * size[0] * size[1] * len(labels)
        if room and size[0] <= canvas.width and size[1] <= canvas.height:
            return canvas, shown, places
        if len(boxes) == 1:
            break
    else:
        return canvas, shown, places
    wide_size = (math.ceil(canvas.width + size[0] + 2 * gap), max(canvas.height, math.ceil(size[1])))
    wide = Image.new("RGB", wide_size, GROUND)
    wide.paste(canvas, (0, 0))
    y = min(max(0.0, boxes[0][1]), wide.height - size[1])
    x = canvas.width + gap
    return wide, shown, [(x, y, x + size[0], y + size[1])]


def draw_box(canvas: Image.Image, box: Box, colour: Colour, line: int) -> None:
    """The face's frame, with a dark edge on both sides so that it stands out on any ground."""
    draw = ImageDraw.Draw(canvas)
    edge = max(1, line // 3)
    x1, y1, x2, y2 = (round(v) for v in box)
    draw.rectangle((x1 - edge, y1 - edge, x2 + edge, y2 + edge), outline=GROUND, width=line + 2 * edge)
    draw.rectangle((x1, y1, x2, y2), outline=colour, width=line)


def _shade_dropped(canvas: Image.Image, patches: npt.NDArray[np.int64], corners: Corners, line: int) -> None:
    """Shade and hatch what the network did not look at, and outline the square it was given.

    patches: [kept] ids; corners: [grid + 1, grid + 1, 2] on the canvas. Hatching shows where a shade alone would not,
    on dark hair and clothes.
    """
    first = np.maximum(np.floor(corners.min((0, 1))).astype(int) - line, 0)
    last = np.minimum(np.ceil(corners.max((0, 1))).astype(int) + line, canvas.size)
    if (last <= first).any():
        return
    # A large face looks smooth enough as it is, and would need much memory.
    fine = FINE if (last - first).max() < 2000 else 1
    size = tuple(((last - first) * fine).tolist())
    dropped, hatch, outline = (Image.new("L", size) for _ in range(3))
    points = (corners - first) * fine
    grid = len(corners) - 1
    for patch in sorted(set(range(grid**2)) - set(patches.tolist())):
        row, column = divmod(patch, grid)
        corner = points[[row, row, row + 1, row + 1], [column, column + 1, column + 1, column]]
        ImageDraw.Draw(dropped).polygon(_path(corner), fill=255)
    cell = max(4.0, float(np.hypot(*(points[0, 1] - points[0, 0]))))
    for x in np.arange(-size[1], size[0], cell / 3):
        ImageDraw.Draw(hatch).line((x, size[1], x + size[1], 0), fill=255, width=max(1, round(cell / 14)))
    square = _path(points[[0, 0, -1, -1, 0], [0, -1, -1, 0, 0]])
    edge = dropped.copy()  # a dark edge on both sides, so that the pale outline stands out on a pale wall
    thin = max(1, round(line * fine / 3))
    ImageDraw.Draw(edge).line(square, fill=255, width=3 * thin)
    ImageDraw.Draw(outline).line(square, fill=OUTLINE, width=thin)
    hatch = ImageChops.multiply(hatch, dropped).point(lambda v: v * HATCH // 255)
    for colour, mask in ((GROUND, edge.point(lambda v: v * SHADE // 255)), (PALE, hatch), (PALE, outline)):
        mask = mask.reduce(fine) if fine > 1 else mask
        canvas.paste(Image.new("RGB", mask.size, colour), tuple(first.tolist()), mask)


def _path(points: npt.NDArray[np.float64]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points.tolist()]


def _corners(face: Face, pooling: Pooling, shape: tuple[int, int]) -> Corners:
    """Corners of the patches, [grid + 1, grid + 1, 2] x and y in pixels of the picture (0 at its edge)."""
    from apvit.explain.tracing import photograph_corners

    return photograph_corners(pooling.grid, shape, face.landmarks, pooling.template)
