"""Labels stay inside the picture and, where there is room, off the faces and off each other."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apvit.recognition.placement import Box, place_labels

CANVAS = (400.0, 300.0)


def shared(a: Box, b: Box) -> float:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


@pytest.mark.parametrize(
    ("face", "corner"),
    [
        ((100, 100, 150, 150), (155, 100)),  # right of it
        ((340, 100, 390, 150), (255, 100)),  # no room there: left of it
        ((100, 280, 150, 299), (155, 260)),  # moved up as little as keeps it inside
        ((10, 100, 390, 150), (10, 155)),  # a wide face: below
        ((10, 100, 390, 299), (10, 55)),  # above
    ],
)
def test_the_most_natural_place_with_room_is_taken(face: Box, corner: tuple[float, float]) -> None:
    (place,), cost = place_labels([face], (80, 40), CANVAS, 5)
    assert (place[0], place[1], cost) == (*corner, 0)
    assert (place[2] - place[0], place[3] - place[1]) == (80, 40)


def test_a_label_makes_way_for_another_face() -> None:
    places, cost = place_labels([(100, 100, 150, 150), (160, 100, 210, 150)], (80, 40), CANVAS, 5)
    assert cost == 0
    assert places == [(15, 100, 95, 140), (215, 100, 295, 140)]


def test_where_there_is_no_room_the_cost_says_so() -> None:
    _, cost = place_labels([(0, 0, 400, 300)], (80, 40), CANVAS, 5)
    assert cost == 80 * 40


faces = st.lists(
    st.tuples(st.integers(0, 350), st.integers(0, 250), st.integers(10, 50), st.integers(10, 50)).map(
        lambda f: (float(f[0]), float(f[1]), float(f[0] + f[2]), float(f[1] + f[3]))
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=50, deadline=None)
@given(faces)
def test_labels_stay_inside_and_a_cost_of_zero_is_true(faces: list[Box]) -> None:
    places, cost = place_labels(faces, (80, 40), CANVAS, 5)
    assert len(places) == len(faces)
    assert all(x1 >= 0 and y1 >= 0 and x2 <= CANVAS[0] and y2 <= CANVAS[1] for x1, y1, x2, y2 in places)
    covered = sum(shared(p, f) for p in places for f in faces) + sum(shared(a, b) for a, b in combinations(places, 2))
    assert (cost == 0) == (covered == 0)
