"""The label-order doctor: finds what is misordered, and is quiet about what is only weak."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apvit.evaluation.doctor import assign, diagnose_labels
from apvit.expressions import LABEL_SPACES, LabelSpace, get_label_space, label_map

FERPLUS = get_label_space("ferplus")
VALID = (1180, 862, 411, 348, 289, 25, 60, 16)
"""Faces per class of FER+ validation."""


def confusion(recalls: tuple[float, ...], faces: tuple[int, ...] = VALID, *, to: int = 0) -> np.ndarray:
    """Counts of a network with these recalls that calls everything else class `to`, and its misses there anything."""
    counts = np.zeros((len(faces), len(faces)), int)
    for i, (recall, n) in enumerate(zip(recalls, faces, strict=True)):
        hits = round(recall * n)
        if i == to:
            counts[i] = (n - hits) // (len(faces) - 1)
        else:
            counts[i, to] = n - hits
        counts[i, i] = hits
    return counts


def misread(counts: np.ndarray, written: str, read: str, space: LabelSpace) -> np.ndarray:
    """The confusion matrix after labels in the order `written` were taken for `read`."""
    moved = np.zeros_like(counts)
    for meant, labelled in zip(LABEL_SPACES[written].expressions, LABEL_SPACES[read].expressions, strict=False):
        moved[space.index(labelled)] += counts[space.index(meant)]
    return moved


GOOD = (0.9, 0.93, 0.88, 0.7, 0.78, 0.4, 0.5, 0.2)
EARLY = (0.9, 0.85, 0.74, 0.03, 0.21, 0, 0, 0)
"""A network after three epochs: rare classes never predicted."""


@pytest.mark.parametrize(
    "counts",
    [
        confusion(GOOD),
        confusion(EARLY),
        confusion((0.3,) * 8),
        confusion((0, 0, 0, 0, 0, 0, 0, 1), to=7),  # always contempt
        confusion((1, 0, 0, 0, 0, 0, 0, 0)),  # always neutral
        np.round(np.outer(VALID, np.full(8, 1 / 8))).astype(int),  # chance
        np.round(np.outer(VALID, np.roll(np.array(VALID) / 3191, 3))).astype(int),  # the wrong marginals
        # Most fear is called surprise, most disgust anger, and these themselves are seen right half of the time.
        np.diag((1000, 800, 200, 300, 140, 1, 5, 2)) + np.eye(8, k=0, dtype=int)
        + np.array([[0] * 8, [0] * 8, [200, 0, 0, 0, 0, 0, 10, 0], [0] * 8, [140, 0, 0, 0, 0, 9, 0, 0],
                    [3, 0, 0, 0, 20, 0, 0, 0], [5, 0, 50, 0, 0, 0, 0, 0], [12, 0, 0, 0, 2, 0, 0, 0]]),
        np.zeros((8, 8), int) + np.eye(8, k=1, dtype=int),  # one face a class, all wrong: says nothing
    ],
    ids=["good", "early", "weak", "contempt", "neutral", "chance", "marginals", "confuses", "few"],
)  # fmt: skip
def test_does_not_cry_wolf(counts: np.ndarray) -> None:
    assert diagnose_labels(counts, FERPLUS) is None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 400), min_size=8, max_size=8).filter(any),
    st.lists(st.floats(0.01, 1), min_size=8, max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_is_quiet_about_a_network_that_does_not_look(faces: list[int], habit: list[float], seed: int) -> None:
    """What it says is drawn regardless of the face, whatever its habit and the faces' distribution."""
    random = np.random.default_rng(seed)
    says = np.array(habit) / sum(habit)
    assert diagnose_labels([random.multinomial(n, says) for n in faces], FERPLUS) is None


@pytest.mark.parametrize("recalls", [GOOD, (0.65, 0.7, 0.6, 0.55, 0.55, 0.3, 0.4, 0.1)], ids=["good", "middling"])
@pytest.mark.parametrize(
    ("written", "read"), [("affectnet-8", "ferplus"), ("ferplus", "affectnet-8"), ("ferplus", "apvit-official-8")]
)
def test_names_a_known_pair(written: str, read: str, recalls: tuple[float, ...]) -> None:
    counts = misread(confusion(recalls), written, read, FERPLUS)
    found = diagnose_labels(counts, FERPLUS)
    assert found is not None
    assert (written, read) in found.orders
    assert f"{written} read as {read}" in found.sentence()
    assert found.accuracy == pytest.approx(counts.trace() / counts.sum())
    assert found.accuracy_renamed > found.accuracy + 0.1


@pytest.mark.parametrize(
    ("written", "read"),
    [
        pair
        for pair in itertools.permutations(("raf-db", "sfew", "expw", "affectnet-7", "apvit-official-7"), 2)
        if LABEL_SPACES[pair[0]].expressions != LABEL_SPACES[pair[1]].expressions
    ],
)
def test_tells_every_pair_of_seven_classes_on_raf_db(written: str, read: str) -> None:
    space = get_label_space("raf-db")
    right = confusion((0.85, 0.6, 0.6, 0.95, 0.88, 0.8, 0.9), (329, 74, 160, 1185, 478, 162, 680), to=6)
    found = diagnose_labels(misread(right, written, read, space), space)
    assert found is not None
    assert (written, read) in found.orders
    meant = dict(zip(LABEL_SPACES[read].expressions, LABEL_SPACES[written].expressions, strict=True))
    assert all(meant[labelled] == predicted for predicted, labelled in found.renamed)
    assert found.accuracy_renamed == pytest.approx(right.trace() / right.sum(), abs=0.02)


def test_an_unknown_order_is_shown_without_a_name() -> None:
    counts = confusion(GOOD)[[1, 0, 2, 3, 4, 5, 6, 7]]
    found = diagnose_labels(counts, FERPLUS)
    assert found is not None
    assert set(found.renamed) == {("happiness", "neutral"), ("neutral", "happiness")}
    assert found.orders == ()
    assert "predicted neutral is labelled happiness" in found.sentence()


def test_classes_that_the_data_lack_are_not_renamed() -> None:
    """Weights of 8 classes on data of 7: contempt has no faces, and nobody is sent there."""
    counts = confusion(GOOD)
    counts[7] = 0
    assert diagnose_labels(counts, FERPLUS) is None
    found = diagnose_labels(counts[[0, 1, 3, 2, 4, 5, 6, 7]], FERPLUS)
    assert found is not None
    assert set(found.renamed) == {("surprise", "sadness"), ("sadness", "surprise")}


def test_a_right_map_needs_no_doctor() -> None:
    """The map between label spaces by name leaves nothing to find."""
    mapped = label_map(get_label_space("raf-db"), FERPLUS)
    counts = np.zeros((8, 8), int)
    for i, label in enumerate(mapped):
        counts[label, label] = 100 + i
    assert diagnose_labels(counts, FERPLUS) is None


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_assignment_is_the_best_of_all(size: int, seed: int) -> None:
    gain = np.random.default_rng(seed).integers(-5, 6, (size, size)).astype(float)
    columns = assign(gain)
    assert sorted(columns) == list(range(size))
    best = max(sum(gain[i, p[i]] for i in range(size)) for p in itertools.permutations(range(size)))
    assert gain[np.arange(size), columns].sum() == best
