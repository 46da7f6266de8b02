"""What a face teaches under each of FER+'s modes, and labels drawn from distributions."""

from __future__ import annotations

import numpy as np
import pytest

from apvit.data import FaceRow, Split, SplitMetadata
from apvit.data.votes import VOTE_NAMES
from apvit.expressions import get_label_space
from apvit.training.targets import draw_labels, split_targets

# neutral 5, happiness 4, surprise 1: without the single vote, 5 of 9 is a majority.
FIVE_FOUR = (5, 4, 1, 0, 0, 0, 0, 0, 0, 0)
TIE = (5, 5, 0, 0, 0, 0, 0, 0, 0, 0)
UNKNOWN = (2, 0, 0, 0, 0, 0, 0, 0, 8, 0)


def split(votes: bool = True) -> Split:
    faces = {"a": FIVE_FOUR, "b": TIE, "c": UNKNOWN}
    rows = [FaceRow(b"", name, 1, name, counts if votes else None) for name, counts in faces.items()]
    return Split.from_rows(
        rows, SplitMetadata("ferplus", "train", get_label_space("ferplus"), vote_names=VOTE_NAMES if votes else None)
    )


@pytest.mark.parametrize(
    ("target", "expected"),  # neutral and happiness of the three faces
    [
        ("label", [[0, 1], [0, 1], [0, 1]]),
        ("votes", [[5 / 9, 4 / 9], [0.5, 0.5], [1, 0]]),
        ("majority", [[1, 0], [0, 0], [0, 0]]),
        ("crossentropy", [[5 / 9, 4 / 9], [0.5, 0.5], [0, 0]]),
        ("probability", [[5 / 9, 4 / 9], [0.5, 0.5], [0, 0]]),
        ("multi-target", [[5 / 9, 4 / 9], [0.5, 0.5], [0, 0]]),
    ],
)
def test_targets(target, expected):
    targets = split_targets(split(), target)
    assert targets.dtype == np.float32
    assert targets.shape == (3, 8)
    np.testing.assert_allclose(targets[:, :2], expected, atol=1e-6)
    assert not targets[:, 2:].any()


def test_votes_where_there_are_none():
    with pytest.raises(ValueError, match="'crossentropy' needs annotators' votes, and ferplus has none"):
        split_targets(split(votes=False), "crossentropy")


def test_drawn_labels_follow_the_distribution():
    distribution = np.tile(np.array([[0.25, 0.0, 0.75]], np.float32), (20_000, 1))
    drawn = draw_labels(distribution, seed=0, epoch=3)
    assert (drawn.sum(1) == 1).all()
    assert drawn.mean(0) == pytest.approx([0.25, 0, 0.75], abs=0.01)
    assert (drawn == draw_labels(distribution, seed=0, epoch=3)).all()
    assert (drawn != draw_labels(distribution, seed=0, epoch=4)).any()
    assert (drawn != draw_labels(distribution, seed=1, epoch=3)).any()
