from __future__ import annotations

import csv
import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from apvit.data import SPLITS, DataError, protocol_labels, protocol_targets, target_distribution
from apvit.data.ferplus_counts import LABELLED, PER_CLASS
from apvit.data.votes import LABELS, PROTOCOLS, VOTE_NAMES, protocol_for

NE, HA, SU, SA, AN, DI, FE, CO = range(8)

# Votes, and the label that each protocol of COLUMNS gives.
CASES = [
    ((9, 0, 0, 0, 0, 0, 0, 0, 1, 0), (NE, NE, NE, NE, NE, NE)),
    # Exactly half is no majority, once single votes are gone: 5 of 10; and 5 of 9 is one.
    ((5, 2, 0, 3, 0, 0, 0, 0, 0, 0), (None, NE, NE, NE, NE, NE)),
    ((5, 1, 0, 4, 0, 0, 0, 0, 0, 0), (NE, NE, NE, NE, NE, NE)),
    # A tie: the first column wins where ties may win.
    ((0, 0, 0, 5, 5, 0, 0, 0, 0, 0), (None, SA, SA, None, SA, SA)),
    # Unknown has the most votes.
    ((0, 3, 0, 0, 0, 0, 0, 0, 7, 0), (None, HA, None, HA, None, None)),
    # A tie with unknown: the first column is the expression; half of the votes are not enough for a distribution.
    ((0, 5, 0, 0, 0, 0, 0, 0, 5, 0), (None, HA, HA, HA, None, HA)),
    # Not a face.
    ((0, 0, 0, 0, 0, 0, 0, 0, 0, 10), (None, None, None, None, None, None)),
    # Only single votes: removed by Microsoft's rules.
    ((1, 1, 1, 1, 1, 1, 1, 1, 1, 1), (None, NE, NE, None, None, None)),
    # Four equal peaks, then five: more than three are discarded; two of five are not 30 %.
    ((0, 2, 2, 2, 2, 0, 0, 0, 2, 0), (None, HA, HA, None, None, None)),
    # Four peaks 4, 2, 2, 2: the equal ones are taken together, which makes four.
    ((4, 2, 2, 2, 0, 0, 0, 0, 0, 0), (None, NE, NE, NE, None, None)),
    # Peaks 4 then 3 are 7 of 10, below 75 %; then NF ends the taking, and what is there has more than half.
    ((4, 3, 0, 0, 0, 0, 0, 0, 0, 3), (None, NE, NE, NE, NE, NE)),
    ((0, 0, 0, 0, 0, 0, 0, 10, 0, 0), (CO, CO, CO, CO, CO, CO)),
    ((0, 0, 0, 0, 0, 6, 4, 0, 0, 0), (DI, DI, DI, DI, DI, DI)),
    ((0, 0, 0, 0, 0, 0, 0, 0, 0, 0), (None, None, None, None, None, None)),
]
COLUMNS = ("majority", "argmax8", "argmax10", "unique-argmax8", "crossentropy", "multi-target")


@pytest.mark.parametrize(("votes", "expected"), CASES)
def test_labels(votes, expected):
    got = {protocol: int(protocol_labels([votes], protocol)[0]) for protocol in COLUMNS}
    assert got == {p: -1 if label is None else label for p, label in zip(COLUMNS, expected, strict=True)}


def test_every_protocol_is_covered():
    assert {*COLUMNS, "probability"} == set(PROTOCOLS)


@pytest.mark.parametrize(
    ("protocol", "votes", "expected"),
    [
        # The single vote is removed before the shares are taken.
        ("crossentropy", (6, 3, 1, 0, 0, 0, 0, 0, 0, 0), {NE: 6 / 9, HA: 3 / 9}),
        # 8 of 10 reach 75 %, so the second peak is not taken.
        ("crossentropy", (8, 2, 0, 0, 0, 0, 0, 0, 0, 0), {NE: 1.0}),
        ("probability", (4, 3, 0, 0, 0, 0, 0, 0, 0, 3), {NE: 4 / 7, HA: 3 / 7}),
        # Two columns below 30 % fall away.
        ("multi-target", (4, 4, 2, 0, 0, 0, 0, 0, 0, 0), {NE: 0.5, HA: 0.5}),
        ("majority", (6, 4, 0, 0, 0, 0, 0, 0, 0, 0), {NE: 1.0}),
    ],
)
def test_targets(protocol, votes, expected):
    row = np.zeros(8, np.float32)
    row[list(expected)] = list(expected.values())
    np.testing.assert_allclose(protocol_targets([votes], protocol), [row], rtol=1e-6)


@pytest.mark.parametrize(
    ("votes", "drop_single", "expected"),
    [
        ((6, 1, 0, 2, 0, 0, 0, 0, 1, 0), True, {NE: 0.75, SA: 0.25}),
        ((6, 1, 0, 2, 0, 0, 0, 0, 1, 0), False, {NE: 6 / 9, HA: 1 / 9, SA: 2 / 9}),
        # No expression has the majority, but training may learn what they said.
        ((2, 2, 0, 0, 0, 0, 0, 0, 6, 0), True, {NE: 0.5, HA: 0.5}),
        ((1, 0, 0, 0, 0, 0, 0, 0, 9, 0), True, {}),
        ((1, 0, 0, 0, 0, 0, 0, 0, 9, 0), False, {NE: 1.0}),
        ((0, 0, 0, 0, 0, 0, 0, 0, 0, 10), False, {}),
    ],
)
def test_target_distribution(votes, drop_single, expected):
    row = np.zeros(8, np.float32)
    row[list(expected)] = list(expected.values())
    got = target_distribution(np.array([votes], np.float32), drop_single=drop_single)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [row], rtol=1e-6)


VOTES = arrays(np.int64, st.tuples(st.integers(0, 5), st.just(10)), elements=st.integers(0, 10))


@settings(max_examples=60, deadline=None)
@given(VOTES, st.sampled_from(list(PROTOCOLS)))
def test_targets_sum_to_one_or_zero_and_agree_with_labels(votes, protocol):
    targets, labels = protocol_targets(votes, protocol), protocol_labels(votes, protocol)
    assert targets.shape == (len(votes), 8)
    assert targets.dtype == np.float32
    sums = targets.sum(1)
    np.testing.assert_allclose(sums, np.where(labels >= 0, 1, 0), atol=1e-6)
    known = labels >= 0
    assert (targets[known, labels[known]] == targets[known].max(1)).all()
    # No rule gives an expression that nobody voted for.
    assert not (targets[votes[:, :8] == 0]).any()


@settings(max_examples=60, deadline=None)
@given(VOTES)
def test_a_majority_is_never_a_tie_and_wins_everywhere_else(votes):
    labels = protocol_labels(votes, "majority")
    for row, label in zip(votes, labels, strict=True):
        if label >= 0:
            assert (row == row[label]).sum() == 1
            assert row.argmax() == label
            for protocol in PROTOCOLS:
                assert protocol_labels([row], protocol)[0] == label


@settings(max_examples=40, deadline=None)
@given(VOTES, st.booleans())
def test_distribution_sums_to_one_where_a_vote_remains(votes, drop_single):
    kept = votes[:, :8] > (1 if drop_single else 0)
    got = target_distribution(votes, drop_single=drop_single)
    np.testing.assert_allclose(got.sum(1), kept.any(1), atol=1e-6)
    assert ((got > 0) == kept).all()


@settings(max_examples=60, deadline=None)
@given(VOTES)
def test_protocols_do_not_depend_on_the_batch(votes):
    for protocol in PROTOCOLS:
        alone = [protocol_labels(row[None], protocol)[0] for row in votes]
        assert protocol_labels(votes, protocol).tolist() == alone


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        (np.zeros((3, 8)), r"votes must be \[N, 10\], got \[3, 8\]"),
        (np.zeros(10), r"got \[10\]"),
        (np.full((1, 10), -1), "0 or more"),
        (np.full((1, 10), np.nan), "0 or more"),
    ],
)
def test_votes_that_make_no_sense(votes, message):
    with pytest.raises(DataError, match=message):
        protocol_targets(votes)
    with pytest.raises(DataError, match=message):
        target_distribution(votes)


def test_unknown_protocol():
    with pytest.raises(DataError, match="unknown vote protocol 'max'; known are majority, argmax8"):
        protocol_labels(np.zeros((1, 10)), "max")


@pytest.mark.parametrize(
    ("protocol", "split", "expected"),
    [
        ("majority", "train", "majority"),
        ("argmax8", "test", "argmax8"),
        ("crossentropy", "train", "crossentropy"),
        ("crossentropy", "valid", "majority"),
        ("probability", "test", "majority"),
        ("multi-target", "valid", "majority"),
    ],
)
def test_training_protocols_leave_evaluation_to_the_majority(protocol, split, expected):
    assert protocol_for(protocol, split) == expected


def test_vote_names():
    assert (*LABELS.expressions, "unknown", "nf") == VOTE_NAMES


@pytest.fixture(scope="module")
def official_votes(ferplus_zip):
    """The votes of the official label.csv, per split."""
    votes = {}
    with zipfile.ZipFile(ferplus_zip) as archive:
        for split, folder in (("train", "FER2013Train"), ("valid", "FER2013Valid")):
            rows = csv.reader(io.StringIO(archive.read(f"{folder}/label.csv").decode()))
            votes[split] = np.array([[int(count) for count in row[2:]] for row in rows])
    return votes


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_published_counts(official_votes, protocol, split):
    labels = protocol_labels(official_votes[split], protocol)
    assert (labels >= 0).sum() == LABELLED["label.csv", protocol][SPLITS.index(split)]
    per_class = PER_CLASS.get(("label.csv", protocol))
    if per_class is not None:
        assert tuple(np.bincount(labels[labels >= 0], minlength=8)) == per_class[SPLITS.index(split)]


def test_the_famous_counts():
    assert LABELLED["label.csv", "majority"] == (25045, 3191, 3137)
    assert LABELLED["fer2013new.csv", "majority"] == (25060, 3199, 3153)
    assert LABELLED["label.csv", "argmax8"] == (28556, 3579, 3573)
