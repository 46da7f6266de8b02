"""From patches to pixels: of the aligned face, and back in the photograph.

Pixels are counted from edges here: x and y are 0 at the picture's left and upper edge, 1 behind its first pixel. A
patch is the square of pixels that its place on the grid covers; what the stem makes of it also depends on pixels around
it (its receptive field).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from apvit.faces.alignment import AlignmentTemplate, similarity

Corners = npt.NDArray[np.float64]
"""[grid + 1, grid + 1, 2] x and y of the corners of all patches, row by row."""


def face_corners(grid: int, size: int) -> Corners:
    """The corners of the patches in pixels of the aligned face, `size` x `size`."""
    steps = np.linspace(0, size, grid + 1)
    return np.stack(np.meshgrid(steps, steps), axis=-1)


def photograph_corners(
    grid: int, shape: tuple[int, ...], landmarks: npt.ArrayLike | None, template: AlignmentTemplate | None
) -> Corners:
    """The corners of the patches in pixels of the photograph [H, W, ...] of `shape`.

    The face was aligned by its `landmarks` [5, 2] to `template`; without either the whole photograph was the face.
    Raises AlignmentError for landmarks that make no face.
    """
    if landmarks is None or template is None:
        whole = face_corners(grid, 1) * np.array(shape[1::-1], np.float64)
        return np.asarray(whole)
    # Landmarks and templates count from the centre of the first pixel, edges lie half a pixel before it.
    matrix = similarity(landmarks, template.points)
    points = face_corners(grid, template.size) - 0.5
    return np.asarray((points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T + 0.5)


def patch_of_pixels(corners: Corners, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """[H, W] the patch that each pixel of a picture of `shape` [H, W, ...] lies in (its centre), -1 outside the face.

    With it any map over patches becomes one over pixels: `np.append(values, 0)[patch_of_pixels(...)]`, since -1 is
    the last entry.
    """
    height, width = shape[:2]
    grid = len(corners) - 1
    patches = np.full((height, width), -1, np.int64)
    first = np.clip(np.floor(corners.min((0, 1))), 0, (width, height)).astype(int)
    last = np.clip(np.ceil(corners.max((0, 1))), 0, (width, height)).astype(int)
    x, y = (np.arange(start, stop) + 0.5 for start, stop in zip(first, last, strict=True))
    # The grid is an affine image of the square, so three of its corners say all.
    origin = corners[0, 0]
    along = np.stack([corners[0, -1] - origin, corners[-1, 0] - origin], axis=1) / grid
    place = (np.stack(np.meshgrid(x, y), axis=-1) - origin) @ np.linalg.inv(along).T
    column, row = np.moveaxis(np.floor(place).astype(np.int64), -1, 0)
    inside = (column >= 0) & (column < grid) & (row >= 0) & (row < grid)
    patches[first[1] : last[1], first[0] : last[0]] = np.where(inside, row * grid + column, -1)
    return patches
