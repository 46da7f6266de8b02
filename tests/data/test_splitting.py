"""A validation split carved from train: shares, groups, and what decides it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apvit.data.splitting import carve, join_groups


@pytest.mark.parametrize(
    ("namings", "expected"),
    [
        ([["a", "b", "a"]], ["a", "b", "a"]),
        ([["a", "b", "c"], ["x", "x", "y"]], ["a", "a", "c"]),
        # b joins a and c through equal pictures.
        ([["a", "b", "b", "c"], ["1", "1", "2", "2"]], ["a", "a", "a", "a"]),
        ([[], []], []),
    ],
)
def test_join_groups(namings, expected):
    assert join_groups(*namings) == expected


def alone(count: int) -> list[str]:
    return [str(i) for i in range(count)]


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25, 0.5])
def test_each_class_gives_its_share(share):
    classes = [0] * 1000 + [1] * 100 + [2] * 20 + [None] * 40
    mask = carve(classes, alone(len(classes)), share, 0)
    taken = Counter(label for label, goes in zip(classes, mask, strict=True) if goes)
    assert taken == {label: round(share * count) for label, count in Counter(classes).items()}


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (2, 1), (3, 1)])
def test_a_rare_class_is_in_both(count, expected):
    classes = [0] * 100 + [1] * count
    mask = carve(classes, alone(len(classes)), 0.1, 0)
    assert mask[100:].sum() == expected


def test_nothing_is_taken_for_no_share():
    assert not carve([0, 1, 0, 1], alone(4), 0.0, 0).any()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 2, None]), st.integers(0, 30)), max_size=120),
    st.floats(0.05, 0.5),
    st.integers(0, 2**40),
)
def test_groups_are_never_divided_and_order_does_not_matter(faces, share, seed):
    classes = [label for label, _ in faces]
    groups = [str(group) for _, group in faces]
    mask = carve(classes, groups, share, seed)
    for group in set(groups):
        assert len({bool(goes) for name, goes in zip(groups, mask, strict=True) if name == group}) == 1
    order = np.random.default_rng(0).permutation(len(faces))
    again = carve([classes[i] for i in order], [groups[i] for i in order], share, seed)
    assert again.tolist() == mask[order].tolist()


def test_another_seed_is_another_part():
    parts = [carve([0] * 200, alone(200), 0.1, seed).tolist() for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]


def test_large_groups_come_near_the_shares():
    random = np.random.default_rng(0)
    groups = [str(i) for i in np.repeat(np.arange(60), random.integers(1, 80, 60))]
    classes = random.integers(0, 4, len(groups)).tolist()
    mask = carve(classes, groups, 0.2, 0)
    for label in range(4):
        assert mask[np.array(classes) == label].mean() == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize(
    ("sizes", "share", "taken"),
    [
        # Twelve people with two classes each: whoever is taken, two classes get more than their share.
        ([6] * 12, 0.1, 1),
        ([6] * 12, 0.25, 3),
        ([6] * 12, 0.02, 0),
        ([20, 20], 0.1, 0),
        ([20, 20], 0.3, 1),
        ([6] * 12 + [1] * 4, 0.1, None),
    ],
)
def test_groups_of_few_classes(sizes, share, taken):
    groups = [f"g{i}" for i, size in enumerate(sizes) for _ in range(size)]
    classes = [(i + j % 2) % 6 for i, size in enumerate(sizes) for j in range(size)]
    mask = carve(classes, groups, share, 0)
    went = {group for group, goes in zip(groups, mask, strict=True) if goes}
    assert not went & {group for group, goes in zip(groups, mask, strict=True) if not goes}
    if taken is not None:
        assert len(went) == taken
    else:
        assert share / 2 <= mask.mean() <= 2 * share
