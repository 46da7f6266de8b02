"""What each face teaches: a distribution over the classes, from its label or its annotators' votes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from apvit.data import Split, protocol_targets, target_distribution
from apvit.data.votes import LABELS as VOTED
from apvit.expressions import LabelSpace

from .randomness import DRAW, seed_for

_Targets = npt.NDArray[np.float32]

VOTE_TARGETS = ("votes", "majority", "multi-target", "probability", "crossentropy")
"""The recipe's targets that need annotators' votes. All but the first are the modes of the FER+ paper."""


def split_targets(split: Split, target: str, labels: LabelSpace | None = None) -> _Targets:
    """Target of every face of `split`: float32 [N, K], rows that sum to 1, or to 0 where a face has none.

    "label": one-hot; the others as `Recipe.target` says. labels: the order of the columns, by default the split's own;
    what it lacks is left out. Raises ValueError for votes where there are none.
    """
    labels = labels or split.metadata.labels
    if target == "label":
        known = (split.labels >= 0)[:, None]
        one_hot: _Targets = np.eye(len(split.metadata.labels), dtype=np.float32)[split.labels] * known
        return _in_order(one_hot, split.metadata.labels, labels)
    if split.votes is None:
        raise ValueError(
            f"target {target!r} needs annotators' votes, and {split.metadata.dataset} has none: use target 'label'"
        )
    voted = target_distribution(split.votes) if target == "votes" else protocol_targets(split.votes, target)
    return _in_order(voted, VOTED, labels)


def _in_order(targets: _Targets, own: LabelSpace, labels: LabelSpace) -> _Targets:
    """The columns by the names of `labels`; rows of which something is left out sum to 1 again."""
    if own.expressions == labels.expressions:
        return targets
    moved = np.zeros((len(targets), len(labels)), np.float32)
    for column, name in enumerate(own.expressions):
        if name in labels.expressions:
            moved[:, labels.index(name)] = targets[:, column]
    total = moved.sum(1, keepdims=True)
    np.divide(moved, total, out=moved, where=total > 0)
    return moved


def draw_labels(targets: _Targets, seed: int, epoch: int) -> _Targets:
    """One label per face, drawn from its distribution: one-hot float32 [N, K], a function of (seed, epoch).

    A face that comes several times in an epoch has the same label each time.
    """
    drawn = np.random.default_rng(seed_for(seed, epoch, DRAW)).random((len(targets), 1))
    # The last edge is 1 but for rounding; a draw above it would fall outside.
    edges = targets.cumsum(1)[:, :-1]
    labels: _Targets = np.eye(targets.shape[1], dtype=np.float32)[(drawn >= edges).sum(1)]
    return labels
