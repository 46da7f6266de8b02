"""How far annotators agree, by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from apvit.data import FaceRow, Split, SplitMetadata
from apvit.evaluation.agreement import label_agreement
from apvit.expressions import get_label_space

NAMES = ("neutral", "happiness", "unknown")


def split_of(labels: Sequence[int | None], votes: Sequence[tuple[int, ...] | None]) -> Split:
    names = NAMES if any(votes) else None
    metadata = SplitMetadata("ferplus", "valid", get_label_space("ferplus"), "majority", vote_names=names)
    rows = [
        FaceRow(b"", f"{i}.png", label, f"{i}", vote) for i, (label, vote) in enumerate(zip(labels, votes, strict=True))
    ]
    return Split.from_rows(rows, metadata)


@pytest.mark.parametrize(
    ("labels", "votes", "agreement"),
    [
        ([0, 0, 1], [(8, 2, 0), (5, 1, 4), (0, 10, 0)], {"neutral": 0.65, "happiness": 1.0}),
        ([0, None], [(6, 4, 0), (10, 0, 0)], {"neutral": 0.6}),  # the second face has no label
        ([0, 0], [(6, 4, 0), (0, 0, 0)], {"neutral": 0.6}),  # nobody voted on the second
        ([7], [(1, 2, 0)], {}),  # nobody could vote for contempt
    ],
)
def test_by_hand(labels, votes, agreement) -> None:
    assert label_agreement(split_of(labels, votes)) == pytest.approx(agreement)


def test_where_nobody_voted(make_split) -> None:
    assert label_agreement(make_split([0, 1])) is None
