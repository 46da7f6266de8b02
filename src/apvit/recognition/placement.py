"""Where labels go in an annotated picture: beside their face, inside the picture, over no face and no other label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""

Boxes = npt.NDArray[np.float64]

SWEEPS = 3
"""How often every label looks for a better place, knowing where the others went."""


def place_labels(
    faces: Sequence[Box], size: tuple[float, float], canvas: tuple[float, float], gap: float
) -> tuple[list[Box], float]:
    """A place of `size` (width, height) for each face's label on a canvas (width, height), and what it costs.

    Every label stands `gap` pixels beside, below or above its face, moved as little as keeps it inside the canvas. The
    cost is the area in square pixels of faces and (counted three times) of other labels that the labels cover; 0 where
    all have room. A label far from its face, hanging in the air, is not a choice.
    """
    choices = [np.array([_inside(corner, size, canvas) for corner in _around(face, size, gap)]) for face in faces]
    hidden = [_covered(options, np.array(faces)) for options in choices]
    picks: list[int] = []
    places = np.zeros((len(faces), 4))  # a label that has no place yet covers nothing
    costs = np.zeros(len(faces))
    for _ in range(SWEEPS):
        before, picks = picks, []
        for i, options in enumerate(choices):
            places[i] = 0
            # Covering another label makes both unreadable; covering a face hides what the picture is about.
            cost = hidden[i] + 3 * _covered(options, places)
            picks.append(int(cost.argmin()))
            places[i], costs[i] = options[picks[i]], cost[picks[i]]
        if picks == before:
            break
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in places.tolist()], float(costs.sum())


def _covered(boxes: Boxes, others: Boxes) -> npt.NDArray[np.float64]:
    """Area [N] that each of boxes [N, 4] shares with all of others [M, 4] together, in square pixels."""
    corner = np.maximum(boxes[:, None, :2], others[None, :, :2])
    sides = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - corner
    area: npt.NDArray[np.float64] = sides.clip(min=0).prod(axis=-1).sum(axis=1)
    return area


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
