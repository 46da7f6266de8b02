"""Alignment puts landmarks on the template, never mirrors, and refuses what is no face."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apvit.faces.alignment import TEMPLATES, AlignmentError, AlignmentTemplate, align, resize_face, similarity

FERPLUS = TEMPLATES["ferplus-48-v1"]
FACE = np.array(FERPLUS.points)
PROJECT = Path(__file__).resolve().parents[2]

templates = pytest.mark.parametrize("template", TEMPLATES.values(), ids=list(TEMPLATES))
angles = st.floats(-np.pi, np.pi)
jitter = st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=5, max_size=5).map(np.array)


def turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


@given(angles, st.floats(0.02, 50), st.floats(-5000, 5000), st.floats(-5000, 5000))
def test_a_known_similarity_is_recovered(angle: float, scale: float, x: float, y: float) -> None:
    truth = np.column_stack([scale * turn(angle), [x, y]])
    assert similarity(FACE, moved(truth, FACE)) == pytest.approx(truth, rel=1e-6, abs=1e-6)
    assert moved(similarity(moved(truth, FACE), FACE), moved(truth, FACE)) == pytest.approx(FACE, abs=1e-6)


def test_by_hand() -> None:
    square = np.array([(0, 0), (2, 0), (2, 2), (0, 2), (1, 1)])
    quarter = np.array([(5, 1), (5, 5), (1, 5), (1, 1), (3, 3)])  # turned by 90 degrees, doubled, shifted
    assert similarity(square, quarter) == pytest.approx(np.array([[0, -2, 5], [2, 0, 1]]))


@given(jitter, angles)
def test_no_other_similarity_is_closer(noise: np.ndarray, angle: float) -> None:
    landmarks = (FACE + noise) @ turn(angle).T
    best = similarity(landmarks, FACE)
    error = np.square(moved(best, landmarks) - FACE).sum()
    for parameter in range(4):
        for step in (0.01, -0.01):
            a, b, x, y = np.eye(4)[parameter] * step
            other = best + np.array([[a, -b, x], [b, a, y]])
            assert np.square(moved(other, landmarks) - FACE).sum() >= error


@templates
@settings(max_examples=50)
@given(squeeze=st.floats(0.25, 1), angle=angles, noise=jitter)
def test_turned_heads_are_never_mirrored(
    template: AlignmentTemplate, squeeze: float, angle: float, noise: np.ndarray
) -> None:
    """A head turned away narrows its landmarks; the noise is up to a twentieth of the face."""
    points = np.array(template.points)
    landmarks = ((points * (squeeze, 1)) + noise * template.size / 48) @ turn(angle).T
    linear = similarity(landmarks, points)[:, :2]
    assert np.linalg.det(linear) > 0
    # What is up in the face stays up, to within 20 degrees.
    up = linear @ turn(angle) @ (0, -1)
    assert -up[1] > np.cos(np.deg2rad(20)) * np.hypot(*up)


@templates
@given(angle=angles, scale=st.floats(0.1, 20))
def test_mirrored_landmarks_are_refused(template: AlignmentTemplate, angle: float, scale: float) -> None:
    points = np.array(template.points)
    mirrored = scale * (points * (-1, 1)) @ turn(angle).T
    with pytest.raises(
        AlignmentError, match="are mirrored or in disorder; give them in the order image-left eye first"
    ):
        similarity(mirrored, points)


@templates
def test_the_persons_order_of_landmarks_is_refused(template: AlignmentTemplate) -> None:
    """Left eye and mouth corner first as the person sees them: the commonest mistake."""
    points = np.array(template.points)
    with pytest.raises(AlignmentError, match="mirrored"):
        similarity(points[[1, 0, 2, 4, 3]], points)


def test_landmarks_without_any_likeness_are_refused() -> None:
    """Points at right angles to the template's: no rotation brings them nearer than a face of no size."""
    x, y = (FACE - FACE.mean(0)).T
    unlike = np.zeros((5, 2))
    unlike[:, 0] = np.linalg.svd(np.stack([x, y, np.ones(5)]))[2][-1] * 20
    with pytest.raises(AlignmentError, match="in disorder"):
        align(np.zeros((50, 50, 3), np.uint8), unlike, FERPLUS)


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (np.full((5, 2), 7.0), "all lie on one point"),
        (np.full((5, 2), 4e3) + 1e-9 * FACE, "all lie on one point"),
        (np.where(np.arange(10).reshape(5, 2) == 3, np.nan, FACE), "not finite numbers"),
        (np.where(np.arange(10).reshape(5, 2) == 9, np.inf, FACE), "not finite numbers"),
        (FACE[:4], r"not an array of shape \[4, 2\]"),
        (FACE.ravel(), r"not an array of shape \[10\]"),
        (np.zeros((0, 2)), r"not an array of shape \[0, 2\]"),
    ],
)
def test_what_is_no_face_is_refused(landmarks: np.ndarray, message: str) -> None:
    with pytest.raises(AlignmentError, match=message):
        align(np.zeros((50, 50, 3), np.uint8), landmarks, FERPLUS)


def test_a_target_on_one_point_is_refused() -> None:
    with pytest.raises(AlignmentError, match="all lie on one point"):
        similarity(FACE, np.ones((5, 2)))


def marked_picture(landmarks: np.ndarray, sigma: float) -> np.ndarray:
    """A black picture with a soft spot on every landmark: uint8 [H, W, 3]."""
    width, height = np.ceil(landmarks.max(0) + 4 * sigma + 10).astype(int)
    y, x = np.mgrid[:height, :width]
    spots = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * sigma**2)) for a, b in landmarks]
    return np.repeat((255 * np.max(spots, axis=0)).round().astype(np.uint8)[..., None], 3, axis=2)


def spot_near(crop: np.ndarray, point: np.ndarray, radius: int) -> np.ndarray:
    """The brightness' centre of gravity within `radius` of `point`."""
    y, x = np.mgrid[: crop.shape[0], : crop.shape[1]]
    weight = np.where(np.hypot(x - point[0], y - point[1]) <= radius, crop[..., 0].astype(float), 0)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


@templates
@pytest.mark.parametrize("size", [48, 112, 200])
@pytest.mark.parametrize("face", [24, 60, 500])
def test_markers_come_to_lie_on_the_templates_points(template: AlignmentTemplate, size: int, face: int) -> None:
    """Faces that grow, shrink, and shrink so much that pixels are averaged; tilted by 20 degrees."""
    scale = face / template.size
    points = np.array(template.points)
    landmarks = scale * points @ turn(np.deg2rad(20)).T
    landmarks += 12.3 + 0.3 * face - landmarks.min(0)
    crop = align(marked_picture(landmarks, sigma=0.05 * face), landmarks, template, size)
    assert crop.shape == (size, size, 3)
    for point in (points + 0.5) * size / template.size - 0.5:
        assert np.hypot(*(spot_near(crop, point, radius=size // 12) - point)) < 0.5


def test_the_size_defaults_to_the_templates() -> None:
    picture = np.zeros((60, 60, 3), np.uint8)
    assert align(picture, FACE, FERPLUS).shape == (48, 48, 3)
    assert align(picture, FACE, TEMPLATES["arcface-112"]).shape == (112, 112, 3)


def test_a_face_already_in_place_is_not_touched() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    assert np.array_equal(align(picture, FACE, FERPLUS), picture)


def test_shrinking_averages_instead_of_picking() -> None:
    """A fine checkerboard must become grey: picked pixels would be black and white."""
    board = np.indices((480, 480)).sum(0) % 2 * 255
    crop = align(np.repeat(board.astype(np.uint8)[..., None], 3, axis=2), FACE * 10 + 4.5, FERPLUS)
    assert (abs(crop.astype(int) - 127) <= 2).all()


@pytest.mark.parametrize("shift", [(-30, 0), (25, 0), (0, -40), (20, 35), (400, -300)])
@pytest.mark.parametrize("scale", [0.4, 1.7])
def test_beyond_the_picture_its_border_goes_on(shift: tuple[float, float], scale: float) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (70, 60, 3), dtype=np.uint8)
    landmarks = scale * FACE + shift
    margin = 500
    larger = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    crop, expected = align(picture, landmarks, FERPLUS), align(larger, landmarks + margin, FERPLUS)
    assert abs(crop.astype(int) - expected).max() <= 1  # the warp's fixed-point coordinates


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.lists(st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)), min_size=5, max_size=5),
)
def test_any_landmarks_give_a_crop_or_an_alignment_error(
    sides: tuple[int, int], landmarks: list[tuple[float, float]]
) -> None:
    picture = np.full((*sides, 3), 90, np.uint8)
    with suppress(AlignmentError):
        crop = align(picture, landmarks, FERPLUS)
        assert crop.dtype == np.uint8
        assert crop.shape == (48, 48, 3)
        assert (crop == 90).all()


def test_pictures_longer_than_opencvs_limit() -> None:
    picture = np.zeros((48, 40_000, 3), np.uint8)
    picture[:, 39_000:] = 255
    assert (align(picture, FACE + np.array([39_200, 0]), FERPLUS) == 255).all()
    with pytest.raises(AlignmentError, match="wider than 32,766 pixels"):
        align(picture, FACE * 900, FERPLUS)


@pytest.mark.parametrize(("shape", "size"), [((48, 48), 48), ((100, 60), 48), ((7, 9), 48), ((1, 1), 16)])
def test_resize_face(shape: tuple[int, int], size: int) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (*shape, 3), dtype=np.uint8)
    crop = resize_face(picture, size)
    assert crop.shape == (size, size, 3)
    assert crop.dtype == np.uint8
    if shape == (size, size):
        assert np.array_equal(crop, picture)
    assert abs(crop.mean() - picture.mean()) < 6


@templates
def test_templates_survive_json(template: AlignmentTemplate) -> None:
    assert AlignmentTemplate.from_dict(json.loads(json.dumps(template.to_dict()))) == template
    assert TEMPLATES[template.name] is template


GOOD: dict[str, Any] = FERPLUS.to_dict()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "has the keys name, points, size, not "),
        ({**GOOD, "colour": "grey"}, "not colour, name, points, size"),
        ({key: GOOD[key] for key in ("name", "size")}, "has the keys name, points, size, not name, size"),
        ({**GOOD, "name": ""}, "needs a name"),
        ({**GOOD, "name": 5}, "needs a name, not 5"),
        ({**GOOD, "size": 0}, "at least 1 pixel, not 0"),
        ({**GOOD, "size": True}, "at least 1 pixel, not True"),
        ({**GOOD, "size": 48.0}, "at least 1 pixel, not 48.0"),
        ({**GOOD, "points": None}, "pairs of numbers"),
        ({**GOOD, "points": [[1, 2, 3]] * 5}, "pairs of numbers"),
        ({**GOOD, "points": [["left", "eye"]] * 5}, "pairs of numbers"),
        ({**GOOD, "points": GOOD["points"][:4]}, "five finite points"),
        ({**GOOD, "points": [[3, 4]] * 5}, "not all equal"),
        ({**GOOD, "points": [*GOOD["points"][:4], [float("nan"), 1]]}, "five finite points"),
    ],
)
def test_bad_templates_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(AlignmentError, match=message):
        AlignmentTemplate.from_dict(values)


def test_ferplus_48_v1_is_what_was_measured() -> None:
    measured = json.loads((PROJECT / "benchmarks" / "framing" / "template.json").read_text())
    assert (measured["template"], measured["size"]) == (FERPLUS.name, FERPLUS.size)
    assert np.round(measured["median"], 2).tolist() == FACE.tolist()
