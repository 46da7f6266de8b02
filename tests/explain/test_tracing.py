"""Patches lead to the right pixels, of the face and of the photograph it was cut from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apvit.explain.tracing import face_corners, patch_of_pixels, photograph_corners
from apvit.faces.alignment import TEMPLATES, AlignmentError, align

TEMPLATE = TEMPLATES["ferplus-48-v1"]


@pytest.mark.parametrize(("grid", "size"), [(12, 48), (14, 112), (3, 10)])
def test_the_face_is_tiled(grid, size):
    patches = patch_of_pixels(face_corners(grid, size), (size, size, 3))
    centres = ((np.arange(size) + 0.5) * grid / size).astype(int)
    np.testing.assert_array_equal(patches, centres[:, None] * grid + centres)


@pytest.mark.parametrize(("landmarks", "template"), [(None, TEMPLATE), (np.zeros((5, 2)), None)])
def test_without_alignment_the_whole_photograph_is_the_face(landmarks, template):
    corners = photograph_corners(4, (20, 40, 3), landmarks, template)
    assert corners.shape == (5, 5, 2)
    np.testing.assert_allclose(corners[-1, -1], (40, 20))
    np.testing.assert_allclose(corners[1, 2], (20, 5))


def placed(scale: float, degrees: float, shift: tuple[float, float]) -> np.ndarray:
    """The template's landmarks in a photograph."""
    turn = np.deg2rad(degrees)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return (np.array(TEMPLATE.points) - 23.5) @ matrix.T + shift


@settings(max_examples=40, deadline=None)
@given(
    scale=st.floats(0.5, 4),
    degrees=st.floats(-180, 180),
    shift=st.tuples(st.floats(-20, 220), st.floats(-20, 160)),
    grid=st.sampled_from([3, 12]),
)
def test_every_patch_is_found_at_its_centre(scale, degrees, shift, grid):
    shape = (140, 200)
    corners = photograph_corners(grid, shape, placed(scale, degrees, shift), TEMPLATE)
    patches = patch_of_pixels(corners, shape)
    assert patches.min() >= -1
    assert patches.max() < grid**2
    centres = (corners[:-1, :-1] + corners[1:, 1:]) / 2
    sides = np.hypot(*(corners[0, 1] - corners[0, 0]))
    for patch, (x, y) in enumerate(centres.reshape(-1, 2)):
        # The pixel's own centre is up to 0.71 pixels away, so a patch must be larger than that for its pixel to be in.
        if sides > 3 and 0 <= x < shape[1] and 0 <= y < shape[0]:
            assert patches[int(y), int(x)] == patch
    whole = corners.min() >= 0 and (corners <= (shape[1], shape[0])).all()
    if whole and sides > 3:  # an area of pixels for an area of patches
        assert (patches >= 0).sum() == pytest.approx((sides * grid) ** 2, rel=0.1)


@pytest.mark.parametrize(("scale", "degrees"), [(2.0, 0), (3.0, 25), (2.5, -140)])
def test_alignment_reads_the_pixels_that_the_trace_names(scale, degrees):
    """A photograph painted by the trace becomes, aligned, a face whose patches have these colours."""
    landmarks = placed(scale, degrees, (150, 140))
    patches = patch_of_pixels(photograph_corners(12, (280, 300), landmarks, TEMPLATE), (280, 300))
    colours = np.random.default_rng(0).integers(0, 256, (145, 3), np.uint8)  # the last one is for what is off the face
    face = align(colours[patches], landmarks, TEMPLATE)
    for patch in range(144):
        row, column = divmod(patch, 12)
        inside = face[4 * row + 1 : 4 * row + 3, 4 * column + 1 : 4 * column + 3].reshape(-1, 3)
        assert np.abs(inside.astype(int) - colours[patch]).max() <= 1


def test_a_face_off_the_photograph_has_no_pixels():
    corners = photograph_corners(12, (50, 50), placed(1, 0, (500, 500)), TEMPLATE)
    assert (patch_of_pixels(corners, (50, 50)) == -1).all()


def test_landmarks_that_make_no_face():
    with pytest.raises(AlignmentError, match="one point"):
        photograph_corners(12, (50, 50), np.ones((5, 2)), TEMPLATE)
