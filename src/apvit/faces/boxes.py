"""Arithmetic on boxes [N, 4]: x1, y1, x2, y2 in pixels, x measured from the picture's left edge, floats."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float32]

_BLOCK = 64
"""Boxes compared with all others at once: fewer steps of Python, and never a matrix of all pairs."""


def suppress(
    boxes: Boxes, scores: npt.NDArray[np.float32], limit: float, *, over: Literal["union", "smaller"] = "union"
) -> npt.NDArray[np.int64]:
    """Greedy non-maximum suppression: indices [K] of the boxes kept, best score first.

    A box goes when its intersection with a better kept one exceeds `limit` times their union, or times the smaller of
    the two areas.
    """
    order = np.argsort(-scores, kind="stable")
    boxes = boxes[order]
    alive = np.ones(len(boxes), dtype=bool)
    kept: list[int] = []
    for start in range(0, len(boxes), _BLOCK):
        block = np.flatnonzero(alive[start : start + _BLOCK]) + start
        covers = _shared_more_than(limit, boxes[block], boxes[start:], over)
        for i, covered in zip(block.tolist(), covers, strict=True):
            if alive[i]:
                kept.append(i)
                alive[start:] &= ~covered
    return order[np.array(kept, dtype=np.int64)]


def _shared_more_than(limit: float, a: Boxes, b: Boxes, over: str) -> npt.NDArray[np.bool_]:
    """[A, B]: whether the intersection exceeds `limit` times the union, or the smaller area."""
    width, height = (
        np.minimum(a[:, None, axis + 2], b[:, axis + 2]) - np.maximum(a[:, None, axis], b[:, axis]) for axis in (0, 1)
    )
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    of_a, of_b = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (a, b))
    whole = of_a[:, None] + of_b - shared if over == "union" else np.minimum(of_a[:, None], of_b)
    return np.asarray(shared > limit * whole)


def to_squares(boxes: Boxes) -> Boxes:
    """The smallest squares [N, 4] with the same centres that hold the boxes."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def clip(boxes: Boxes, height: int, width: int) -> Boxes:
    """The parts [N, 4] of the boxes inside a picture; a box wholly outside becomes one of no area on its edge."""
    limits: Any = np.array([width, height, width, height], dtype=np.float32)
    return np.clip(boxes, np.float32(0), limits)
