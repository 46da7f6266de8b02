"""Annotated pictures: what is drawn, where, and what is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apvit.expressions import EXPRESSIONS
from apvit.faces.alignment import TEMPLATES
from apvit.recognition import Face
from apvit.recognition.labels import COLOURS, GROUND, Label
from apvit.recognition.rendering import PALE, SMALLEST, Pooling, annotate

TEMPLATE = TEMPLATES["ferplus-48-v1"]
POINTS = np.array(TEMPLATE.points)
GREY = np.full((800, 1000, 3), 128, np.uint8)


def face(box: Any, landmarks: Any = None, patches: Any = None, expression: str | None = "anger") -> Face:
    probabilities = {"neutral": 0.25, "anger": 0.5, "fear": 0.25}
    return Face(box, landmarks, None, expression, 0.5, probabilities, patches)


def test_every_expression_has_its_own_colour() -> None:
    assert set(COLOURS) == {*EXPRESSIONS, None}
    assert len({COLOURS[name] for name in EXPRESSIONS}) == len(EXPRESSIONS)


def test_a_picture_without_faces_is_unchanged() -> None:
    np.testing.assert_array_equal(np.asarray(annotate(GREY, [])), GREY)


def test_the_box_has_the_colour_of_the_expression_and_the_rest_is_left_alone() -> None:
    before = GREY.copy()
    drawn = np.asarray(annotate(GREY, [face((400, 300, 600, 500))]))
    np.testing.assert_array_equal(GREY, before)
    assert drawn.shape == GREY.shape
    for x, y in ((400, 400), (600, 400), (500, 300), (500, 500)):
        assert tuple(drawn[y, x]) == COLOURS["anger"]
    assert (drawn[310:490, 410:590] == 128).all()  # the face
    assert (drawn[:, :380] == 128).all()  # the label is on the right
    assert (drawn[300:330, 620:700] != 128).any()


@pytest.mark.parametrize(("shape", "size"), [((48, 48), (640, 640)), ((300, 100), (213, 640)), ((1, 1), (640, 640))])
def test_small_pictures_are_enlarged(shape: tuple[int, int], size: tuple[int, int]) -> None:
    drawn = annotate(np.zeros((*shape, 3), np.uint8), [])
    assert drawn.size == size
    assert max(size) == SMALLEST


def test_a_face_that_fills_the_picture_gets_a_margin_for_its_label() -> None:
    drawn = annotate(GREY, [face((0, 0, 1000, 800))])
    assert drawn.height == 800
    assert drawn.width > 1100
    inside = np.asarray(drawn)[20:-20, 20:980]
    assert (inside == 128).all()


def test_many_faces_get_labels_without_bars_and_keep_the_size() -> None:
    faces = [face((x, y, x + 90.0, y + 90.0)) for x in range(10, 900, 110) for y in range(10, 700, 130)]
    drawn = np.asarray(annotate(GREY, faces))
    assert drawn.shape == GREY.shape
    seen = [
        (drawn[int(y1) + 12 : int(y2) - 12, int(x1) + 12 : int(x2) - 12] == 128).mean()
        for x1, y1, x2, y2 in (f.box for f in faces)
    ]
    assert np.mean(seen) > 0.8


def test_a_box_beyond_the_picture_is_cut() -> None:
    for box in ((-50, -50, 100, 100), (950, 750, 1100, 900), (-10, -10, 2000, 2000)):
        assert annotate(GREY, [face(box)]).height == 800


def shaded(drawn: np.ndarray, x: float, y: float) -> bool:
    """Whether the pixels around x, y are darker than the grey picture."""
    x, y = round(x), round(y)
    return bool(drawn[y - 1 : y + 2, x - 1 : x + 2].mean() < 110)


@pytest.mark.parametrize(
    ("scale", "degrees", "shift"), [(8, 0, (300, 200)), (5, 35, (500, 250)), (6, -90, (300, 500)), (4, 180, (600, 500))]
)
def test_dropped_patches_are_shaded_where_they_came_from(scale: float, degrees: float, shift: tuple[int, int]) -> None:
    turn = np.deg2rad(degrees)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    to_photo = lambda points: np.asarray(points) @ matrix.T + shift  # noqa: E731
    landmarks = to_photo(POINTS)
    kept = [i for i in range(144) if i % 5]
    x1, y1 = landmarks.min(0)
    x2, y2 = landmarks.max(0)
    drawn = np.asarray(annotate(GREY, [face((x1, y1, x2, y2), landmarks, kept)], pooling=Pooling(12, TEMPLATE)))
    centres = to_photo([(4 * (i % 12) + 1.5, 4 * (i // 12) + 1.5) for i in range(144)])  # 48 pixels, 12 patches
    # Where the box is drawn, and beyond the picture, nothing can be told.
    told = [
        i
        for i, (x, y) in enumerate(centres)
        if min(abs(x - x1), abs(x - x2), abs(y - y1), abs(y - y2)) > 8 and 3 < x < 996 and 3 < y < 796
    ]
    assert len(told) > 70
    assert [i for i in told if shaded(drawn, *centres[i])] == [i for i in told if i not in kept]


def test_without_a_template_the_patches_cover_the_whole_picture() -> None:
    drawn = np.asarray(annotate(GREY, [face((0, 0, 1000, 800), None, [1, 2, 3])], pooling=Pooling(2, None)))
    assert shaded(drawn, 260, 210)
    assert not any(shaded(drawn, x, y) for x, y in ((750, 200), (250, 600), (750, 600)))


def test_a_face_far_outside_the_picture_or_without_patches_does_not_stop_the_drawing() -> None:
    far = face((10, 10, 50, 50), POINTS + 5000, range(100))
    assert annotate(GREY, [far], pooling=Pooling(12, TEMPLATE)).height == 800
    plain = annotate(GREY, [face((10, 10, 50, 50))])
    assert annotate(GREY, [face((10, 10, 50, 50))], pooling=Pooling(12, TEMPLATE)).tobytes() == plain.tobytes()


@pytest.mark.parametrize(
    ("expression", "number", "title", "bars"),
    [
        ("anger", None, "anger", ["neutral", "fear"]),
        ("anger", 3, "3  anger", ["neutral", "fear"]),
        (None, None, "unsure", ["anger", "neutral", "fear"]),
    ],
)
def test_what_a_label_says(expression: str | None, number: int | None, title: str, bars: list[str]) -> None:
    label = Label.of(face((0, 0, 9, 9), expression=expression), number, 20, "a note")
    assert (label.title, label.probability, [name for name, _ in label.bars]) == (title, 0.5, bars)
    short = label.shortened(0)
    assert (short.bars, short.note) == ((), None)
    assert short.size[0] <= label.size[0]
    assert short.size[1] < label.size[1]


@settings(max_examples=15, deadline=None)
@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.lists(st.tuples(*[st.floats(0, 0.8)] * 2, *[st.floats(0.05, 1)] * 2), max_size=4),
)
def test_any_picture_and_boxes_can_be_drawn(shape: tuple[int, int], boxes: list[tuple[float, ...]]) -> None:
    height, width = shape
    picture = np.zeros((height, width, 3), np.uint8)
    faces = [face((x * width, y * height, (x + w) * width, (y + h) * height)) for x, y, w, h in boxes]
    drawn = annotate(picture, faces)
    assert max(drawn.size) >= SMALLEST
    assert drawn.mode == "RGB"
    assert GROUND != PALE
