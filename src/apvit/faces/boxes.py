"""Arithmetic on boxes [N, 4]: x1, y1, x2, y2 in pixels, x measured from the picture's left edge, floats."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float32]


def suppress(
    boxes: Boxes, scores: npt.NDArray[np.float32], limit: float, *, over: Literal["union", "smaller"] = "union"
) -> npt.NDArray[np.int64]:
    """Greedy non-maximum suppression: indices [K] of the boxes kept, best score first.

    A box goes when its intersection with a better kept one exceeds `limit` times their union, or times the smaller of
    the two areas.
    """
    order = np.argsort(-scores, kind="stable")
    boxes = boxes[order]
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1) * (y2 - y1)
    alive = np.ones(len(boxes), dtype=bool)
    kept: list[int] = []
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        kept.append(i)
        rest = np.flatnonzero(alive[i + 1 :]) + i + 1
        width = np.minimum(x2[i], x2[rest]) - np.maximum(x1[i], x1[rest])
        height = np.minimum(y2[i], y2[rest]) - np.maximum(y1[i], y1[rest])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        whole = areas[i] + areas[rest] - shared if over == "union" else np.minimum(areas[i], areas[rest])
        alive[rest[shared > limit * whole]] = False
    return order[np.array(kept, dtype=np.int64)]


def to_squares(boxes: Boxes) -> Boxes:
    """The smallest squares [N, 4] with the same centres that hold the boxes."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def clip(boxes: Boxes, height: int, width: int) -> Boxes:
    """The parts [N, 4] of the boxes inside a picture; a box wholly outside becomes one of no area on its edge."""
    limits: Any = np.array([width, height, width, height], dtype=np.float32)
    return np.clip(boxes, np.float32(0), limits)
