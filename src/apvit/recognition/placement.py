"""Where labels go in an annotated picture: beside their face, inside the picture, over no face and no other label."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""

SWEEPS = 3
"""How often every label looks for a better place, knowing where the others went."""


def overlap(a: Box, b: Box) -> float:
    """Area that two boxes share, in square pixels."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def place_labels(
    faces: Sequence[Box], size: tuple[float, float], canvas: tuple[float, float], gap: float
) -> tuple[list[Box], float]:
    """A place of `size` (width, height) for each face's label on a canvas (width, height), and what it costs.

    Every label stands `gap` pixels beside, below or above its face, moved as little as keeps it inside the canvas. The
    cost is the area in square pixels of faces and (counted three times) of other labels that the labels cover; 0 where
    all have room. A label far from its face, hanging in the air, is not a choice.
    """
    choices = [[_inside(corner, size, canvas) for corner in _around(face, size, gap)] for face in faces]
    placed: list[Box] = []
    for _ in range(SWEEPS):
        for i, options in enumerate(choices):
            others = placed[:i] + placed[i + 1 :]
            costs = [_cost(option, faces, others) for option in options]
            placed[i : i + 1] = [options[costs.index(min(costs))]]
    total = sum(_cost(place, faces, placed[:i]) for i, place in enumerate(placed))
    return placed, total


def _cost(place: Box, faces: Sequence[Box], labels: Sequence[Box]) -> float:
    # Covering another label makes both unreadable; covering a face hides what the picture is about.
    return sum(overlap(place, face) for face in faces) + 3 * sum(overlap(place, label) for label in labels)


def _around(face: Box, size: tuple[float, float], gap: float) -> list[tuple[float, float]]:
    """Upper left corners to try, the most natural first: right, left, below, above."""
    x1, y1, x2, y2 = face
    width, height = size
    middle_x, middle_y = (x1 + x2 - width) / 2, (y1 + y2 - height) / 2
    columns = (x1, middle_x, x2 - width)
    heights = (y1, middle_y, y2 - height)
    return [
        *((x2 + gap, y) for y in heights),
        *((x1 - gap - width, y) for y in heights),
        *((x, y2 + gap) for x in columns),
        *((x, y1 - gap - height) for x in columns),
    ]


def _inside(corner: tuple[float, float], size: tuple[float, float], canvas: tuple[float, float]) -> Box:
    x = max(0.0, min(corner[0], canvas[0] - size[0]))
    y = max(0.0, min(corner[1], canvas[1] - size[1]))
    return (x, y, x + size[0], y + size[1])
