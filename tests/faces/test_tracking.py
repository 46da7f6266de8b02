"""Tracks: the same number for the same face, whatever the order, over gaps, never one number twice."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apvit.faces.detection import Detection
from apvit.faces.tracking import Tracked, Tracker, associate, overlap


def face(x: float, y: float = 0.0, side: float = 100.0, score: float = 0.9) -> Detection:
    return Detection((x, y, x + side, y + side), score, np.zeros((5, 2), np.float32))


def numbers(faces: list[Tracked]) -> list[int]:
    return [found.track for found in faces]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (1, 0, 3, 2), 1 / 3),
        ((0, 0, 2, 2), (2, 0, 4, 2), 0.0),
        ((0, 0, 4, 4), (1, 1, 3, 3), 0.25),
    ],
)
def test_overlap_by_hand(a, b, expected: float) -> None:
    assert overlap(a, b) == pytest.approx(expected)
    assert overlap(b, a) == overlap(a, b)


@pytest.mark.parametrize(
    ("moved", "since", "joined"),
    [
        (face(40), 0.04, True),
        (face(60), 0.04, False),  # further than half a side at once
        (face(60), 0.5, True),  # but not in half a second
        (face(140), 5.0, True),
        (face(160), 5.0, False),
        (face(30, 30, 45), 0.04, False),  # smaller than half
        (face(10, 10, 80), 0.04, True),
    ],
)
def test_how_far_a_face_may_go(moved: Detection, since: float, joined: bool) -> None:
    assert associate([((0, 0, 100, 100), since)], [moved.box]) == ({0: 0} if joined else {})


def test_the_better_pair_is_joined_first() -> None:
    tracks = [((0.0, 0.0, 100.0, 100.0), 0.1), ((60.0, 0.0, 160.0, 100.0), 0.1)]
    assert associate(tracks, [(50.0, 0.0, 150.0, 100.0), (10.0, 0.0, 110.0, 100.0)]) == {0: 1, 1: 0}


def test_a_short_gap_is_bridged_and_a_long_one_is_not() -> None:
    tracker = Tracker(bridge=1.0)
    assert numbers(tracker.step(0.0, [face(0)])) == [1]
    for time in (0.4, 0.8):
        assert tracker.step(time, []) == []
    assert numbers(tracker.step(1.0, [face(5)])) == [1]
    for time in (1.5, 2.0, 2.5):
        assert tracker.step(time, []) == []
    assert numbers(tracker.step(2.6, [face(5)])) == [2]


def test_rare_looks_break_no_track() -> None:
    tracker = Tracker(bridge=1.0)
    assert [numbers(tracker.step(time, [face(0)])) for time in (0.0, 5.0, 10.0)] == [[1], [1], [1]]


def test_faces_are_followed_between_searches_until_they_are_lost_or_too_long_unconfirmed() -> None:
    tracker = Tracker(bridge=1.0)
    tracker.step(0.0, [face(0), face(300)])
    asked = []

    def follow(boxes):
        asked.append(boxes)
        return [face(box[0] + 10) if box[0] < 200 else None for box in boxes]

    (first,) = tracker.step(0.1, None, follow)
    assert (first.track, first.detected, first.detection.box[0]) == (1, False, 10.0)
    assert asked == [[(0.0, 0.0, 100.0, 100.0), (300.0, 0.0, 400.0, 100.0)]]
    tracker.step(0.2, None, follow)
    assert asked[1:] == [[(10.0, 0.0, 110.0, 100.0)]]  # the lost one is not looked for again, but still bridged
    assert numbers(tracker.step(0.3, [face(310)], follow)) == [1, 2]
    for step in range(4, 10):
        assert 1 in numbers(tracker.step(step / 10, None, follow))
    assert 1 not in numbers(tracker.step(1.1, None, follow))


def test_two_tracks_never_end_on_one_face() -> None:
    tracker = Tracker()
    tracker.step(0.0, [face(0), face(120)])
    followed = tracker.step(0.1, None, lambda boxes: [face(60) for _ in boxes])
    assert numbers(followed) == [1]


def test_only_the_largest_faces_are_tracked() -> None:
    tracker = Tracker(limit=1)
    assert numbers(tracker.step(0.0, [face(0, side=50), face(200)])) == [1]
    (found,) = tracker.step(0.2, [face(0, side=50), face(205)])
    assert (found.track, found.detection.box[0]) == (1, 205)
    assert numbers(tracker.step(0.4, [face(0, side=50)])) == [2]


def test_faces_of_another_scene_are_others_until_it_is_back() -> None:
    tracker = Tracker()
    tracker.step(0.0, [face(0)])
    assert numbers(tracker.step(0.1, [face(0)], lambda boxes: [face(0) for _ in boxes], {1})) == [2]
    assert numbers(tracker.step(0.2, [face(0)], None, {2})) == [1]


@st.composite
def walks(draw: st.DrawFn) -> list[list[Detection]]:
    """Faces far apart that each move a little from look to look, and are now and then not found."""
    count = draw(st.integers(1, 5))
    looks = []
    for step in range(draw(st.integers(2, 8))):
        there = [draw(st.booleans()) or step == 0 for _ in range(count)]
        moves = [draw(st.floats(-8, 8)) for _ in range(count)]
        looks.append([face(400 * i + 10 + moves[i], 50 + moves[i] / 2, 90 + i) for i in range(count) if there[i]])
    return looks


@given(walks(), st.integers(0, 2**32 - 1))
def test_the_order_of_detections_makes_no_difference(looks: list[list[Detection]], seed: int) -> None:
    mixed = random.Random(seed)
    one, other = Tracker(), Tracker()
    for step, look in enumerate(looks):
        shuffled = mixed.sample(look, len(look))
        a, b = one.step(step / 8, look), other.step(step / 8, shuffled)
        assert [(f.track, f.detection.box) for f in a] == [(f.track, f.detection.box) for f in b]
        assert len(set(numbers(a))) == len(look)  # no two faces share a number


@given(walks())
def test_faces_keep_their_numbers_over_gaps(looks: list[list[Detection]]) -> None:
    tracker = Tracker()
    tracks: dict[int, int] = {}
    for step, look in enumerate(looks):
        for found in tracker.step(step / 8, look):
            person = round(found.detection.box[0] / 400)
            assert tracks.setdefault(person, found.track) == found.track


@given(walks(), st.data())
def test_a_restored_tracker_goes_on_as_the_first(looks: list[list[Detection]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(looks) - 1))
    whole, second = Tracker(), Tracker()
    results = [whole.step(step / 8, look) for step, look in enumerate(looks)]
    for step in range(cut):
        second.restore(step / 8, results[step])
    for step in range(cut, len(looks)):
        assert numbers(second.step(step / 8, looks[step])) == numbers(results[step])
