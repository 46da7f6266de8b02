"""Arithmetic on boxes, by hand and for any boxes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apvit.faces.boxes import clip, suppress, to_squares


def array(*boxes: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)


# Whole numbers, so that float32 is exact.
box = st.tuples(st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 60), st.integers(1, 60)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
boxes = st.lists(box, max_size=12).map(lambda b: array(*b))


def overlap(a: np.ndarray, b: np.ndarray, over: str) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return float(shared / (sum(areas) - shared if over == "union" else min(areas)))


@pytest.mark.parametrize(
    ("limit", "over", "kept"),
    [
        (0.3, "union", [1, 3]),
        (0.4, "union", [1, 0, 3]),
        (0.5, "union", [1, 0, 2, 3]),
        (0.4, "smaller", [1, 3]),
        (0.6, "smaller", [1, 0, 3]),
    ],
)
def test_suppress_by_hand(limit: float, over: Literal["union", "smaller"], kept: list[int]) -> None:
    """The first shares with the best, the second, a third of their union and half of itself; the third 0.45 and all."""
    candidates = array((5, 0, 15, 10), (0, 0, 10, 10), (0, 0, 10, 4.5), (20, 0, 30, 10))
    scores = np.array([0.8, 0.9, 0.7, 0.6], np.float32)
    assert suppress(candidates, scores, limit, over=over).tolist() == kept


def test_a_suppressed_box_suppresses_nothing() -> None:
    """A chain of three: the middle one goes, so the last one, which only touches the middle, stays."""
    chain = array((0, 0, 10, 10), (4, 0, 14, 10), (8, 0, 18, 10))
    assert suppress(chain, np.array([0.9, 0.8, 0.7], np.float32), 0.3).tolist() == [0, 2]


def test_equal_scores_keep_their_order() -> None:
    apart = array((0, 0, 1, 1), (5, 5, 6, 6), (9, 9, 10, 10))
    assert suppress(apart, np.ones(3, np.float32), 0.5).tolist() == [0, 1, 2]


@given(boxes, st.sampled_from(["union", "smaller"]), st.sampled_from([0.0, 0.3, 0.5, 0.7]), st.randoms())
def test_suppress_keeps_what_it_should(
    candidates: np.ndarray, over: Literal["union", "smaller"], limit: float, random: Random
) -> None:
    scores = np.array([random.random() for _ in candidates], np.float32)
    kept = suppress(candidates, scores, limit, over=over).tolist()
    assert kept == sorted(kept, key=lambda i: -scores[i])
    assert len(set(kept)) == len(kept)
    for i in range(len(candidates)):
        better = [k for k in kept if k != i and scores[k] >= scores[i]]
        most = max((overlap(candidates[k], candidates[i], over) for k in better), default=0.0)
        if most == 0 or abs(most - limit) > 1e-5:  # at the limit itself float32 rounding decides
            assert (most > limit) == (i not in kept)


@pytest.mark.parametrize("count", [63, 64, 65, 300])
@pytest.mark.parametrize("over", ["union", "smaller"])
def test_suppress_many_as_one_by_one(count: int, over: Literal["union", "smaller"]) -> None:
    random = np.random.default_rng(count)
    corners, sizes = random.integers(0, 80, (count, 2)), random.integers(1, 40, (count, 2))
    candidates = np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)
    scores = random.permutation(count).astype(np.float32)
    expected: list[int] = []
    for i in np.argsort(-scores).tolist():
        if all(overlap(candidates[k], candidates[i], over) <= 0.43 for k in expected):
            expected.append(i)
    assert suppress(candidates, scores, 0.43, over=over).tolist() == expected


@pytest.mark.parametrize(
    ("given_box", "square"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10)),
        ((0, 0, 10, 4), (0, -3, 10, 7)),
        ((-2, 1, 2, 11), (-5, 1, 5, 11)),
        ((3, 3, 3, 3), (3, 3, 3, 3)),
    ],
)
def test_to_squares_by_hand(
    given_box: tuple[float, float, float, float], square: tuple[float, float, float, float]
) -> None:
    assert np.array_equal(to_squares(array(given_box)), array(square))


@given(boxes)
def test_squares_are_the_smallest_around_the_same_centre(candidates: np.ndarray) -> None:
    squares = to_squares(candidates)
    assert squares.dtype == np.float32
    sides, longest = squares[:, 2:] - squares[:, :2], (candidates[:, 2:] - candidates[:, :2]).max(1, initial=0)
    assert np.array_equal(sides, np.stack([longest, longest], axis=1))
    assert np.array_equal(squares[:, :2] + squares[:, 2:], candidates[:, :2] + candidates[:, 2:])


@pytest.mark.parametrize(
    ("given_box", "inside"),
    [
        ((1, 2, 3, 4), (1, 2, 3, 4)),
        ((-5, -5, 30, 30), (0, 0, 20, 10)),
        ((15, 5, 25, 15), (15, 5, 20, 10)),
        ((-9, 1, -3, 4), (0, 1, 0, 4)),  # wholly outside: no area
        ((30, 20, 40, 30), (20, 10, 20, 10)),
    ],
)
def test_clip_by_hand(given_box: tuple[float, float, float, float], inside: tuple[float, float, float, float]) -> None:
    clipped = clip(array(given_box), 10, 20)
    assert np.array_equal(clipped, array(inside))
    assert clipped.dtype == np.float32


@given(boxes, st.integers(1, 60), st.integers(1, 60))
def test_clipped_boxes_lie_inside(candidates: np.ndarray, height: int, width: int) -> None:
    clipped = clip(candidates, height, width)
    assert (clipped >= 0).all()
    assert (clipped <= [width, height, width, height]).all()
    assert (clipped[:, :2] <= clipped[:, 2:]).all()
    within = ((candidates >= 0) & (candidates <= [width, height, width, height])).all(1)
    assert np.array_equal(clipped[within], candidates[within])


@pytest.mark.parametrize("function", [to_squares, lambda b: clip(b, 5, 5), lambda b: b[suppress(b, b[:, 0], 0.5)]])
def test_no_boxes_give_no_boxes(function: Callable[[np.ndarray], np.ndarray]) -> None:
    assert function(array()).shape == (0, 4)
