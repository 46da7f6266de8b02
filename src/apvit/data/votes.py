"""FER+ votes to labels and to training targets.

Ten people voted on each face; a row of votes is `votes: [N, 10]`, the eight expressions of the label space `ferplus`
in its order, then unknown and NF (no face). Papers turn votes into labels by different rules, and figures under
different rules cannot be compared, so the rule is a named protocol.

Microsoft's rules are those of `src/ferplus.py` (`_process_data`) in microsoft/FERPlus, written for the modes of
Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label Distribution"
(arXiv 1608.01041).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from apvit.data.errors import DataError
from apvit.expressions import LABEL_SPACES
from apvit.files import unknown

LABELS = LABEL_SPACES["ferplus"]
VOTE_NAMES = (*LABELS.expressions, "unknown", "nf")
"""The columns of `votes`."""

_K = len(LABELS)
_Float = npt.NDArray[np.float64]


def _without_single(votes: _Float) -> _Float:
    """Microsoft's outlier removal: a single vote, in any of the ten columns, counts as none."""
    return np.where(votes <= 1, 0.0, votes)


def _one_hot(winner: npt.NDArray[np.intp], kept: npt.NDArray[np.bool_]) -> _Float:
    """[N, 8]: one where `kept`, in column `winner`; zero rows elsewhere and where unknown or NF won."""
    return np.eye(len(VOTE_NAMES))[winner][:, :_K] * kept[:, None]


def _majority(votes: _Float) -> _Float:
    votes = _without_single(votes)
    # A strict majority, so a tie never wins.
    return _one_hot(votes.argmax(1), votes.max(1) > 0.5 * votes.sum(1))


def _argmax8(votes: _Float) -> _Float:
    expressions = votes[:, :_K]
    return _one_hot(expressions.argmax(1), expressions.max(1) > 0)


def _argmax10(votes: _Float) -> _Float:
    return _one_hot(votes.argmax(1), votes.max(1) > 0)


def _unique_argmax8(votes: _Float) -> _Float:
    expressions = votes[:, :_K]
    highest = expressions.max(1, keepdims=True)
    unique = (expressions == highest).sum(1) == 1
    return _one_hot(expressions.argmax(1), unique & (highest[:, 0] > 0))


def _crossentropy(votes: _Float) -> _Float:
    return np.array([_peaks(row) for row in _without_single(votes)]).reshape(-1, _K)


def _peaks(row: _Float) -> _Float:
    """The peaks of one row [10] in descending order until they hold 75 % of the votes, as eight shares.

    Equal peaks are taken together. Unknown or NF ends the taking; it stays only where it was the first peak, and then
    the face is discarded. So is one whose peaks hold at most half of the votes, or number more than three.
    """
    total = row.sum()
    taken = np.zeros(len(row))
    count = 0
    while taken.sum() < 0.75 * total and count < 3:
        left = np.where(taken > 0, 0.0, row)
        peaks = np.flatnonzero(left == left.max())
        expressions = peaks[peaks < _K]
        taken[expressions] = row[expressions]
        count += len(expressions)
        if len(expressions) < len(peaks):
            if not taken.any():
                return np.zeros(_K)
            break
    shares = taken[:_K]
    if shares.sum() <= 0.5 * total or count > 3:
        return np.zeros(_K)
    return _normalised(shares[None]).reshape(-1)


def _multi_target(votes: _Float) -> _Float:
    votes = _without_single(votes)
    total = votes.sum(1, keepdims=True)
    taken = np.where(votes >= 0.3 * total, votes, 0.0)
    kept = (taken.sum(1, keepdims=True) > 0.5 * total) & (taken.argmax(1, keepdims=True) < _K)
    return _normalised(taken[:, :_K] * kept)


def _normalised(counts: _Float) -> _Float:
    total = counts.sum(1, keepdims=True)
    shares: _Float = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    return shares


PROTOCOLS: dict[str, Callable[[_Float], _Float]] = {
    "majority": _majority,
    "argmax8": _argmax8,
    "argmax10": _argmax10,
    "unique-argmax8": _unique_argmax8,
    "crossentropy": _crossentropy,
    "probability": _crossentropy,
    "multi-target": _multi_target,
}
"""Rules by name. `majority`: Microsoft's; more than half of the votes, single votes and unknown and NF removed.
`argmax8`: the most votes among the eight expressions, the first of equal ones (called "max" in papers). `argmax10`:
the same among all ten columns, dropped where unknown or NF wins. `unique-argmax8`: argmax8 without ties.
`crossentropy`, `probability` (the same faces and distribution, from which a trainer draws one label per epoch) and
`multi-target`: Microsoft's training modes."""

TRAINING_ONLY = frozenset({"crossentropy", "probability", "multi-target"})
"""Protocols that Microsoft's code applies to training faces only; validation and test then use `majority`."""


def protocol_for(protocol: str, split: str) -> str:
    """The protocol that `split` gets when the user asks for `protocol`; DataError names the known ones."""
    if protocol not in PROTOCOLS:
        raise DataError(unknown("vote protocol", protocol, PROTOCOLS))
    return "majority" if protocol in TRAINING_ONLY and split != "train" else protocol


def protocol_targets(votes: npt.ArrayLike, protocol: str = "majority") -> npt.NDArray[np.float32]:
    """Training targets under `protocol`: float32 [N, 8], rows that sum to 1, or to 0 where the rule gives no label.

    votes: [N, 10] counts in the order of VOTE_NAMES. Raises DataError for another shape, negative counts, or an
    unknown protocol.
    """
    protocol_for(protocol, "train")
    return PROTOCOLS[protocol](_checked(votes)).astype(np.float32)


def protocol_labels(votes: npt.ArrayLike, protocol: str = "majority") -> npt.NDArray[np.int64]:
    """Labels under `protocol`: int64 [N], the largest target (the first of equal ones), -1 where there is none."""
    targets = protocol_targets(votes, protocol)
    return np.where(targets.any(1), targets.argmax(1), -1).astype(np.int64)


def target_distribution(votes: npt.ArrayLike, *, drop_single: bool = True) -> npt.NDArray[np.float32]:
    """The annotators' distribution over the eight expressions: float32 [N, 8], for cross-entropy on every face.

    votes: [N, 10] counts in the order of VOTE_NAMES. With `drop_single` a single vote counts as none, as in
    Microsoft's `_process_data`; unlike there, no face is discarded for a weak majority. Rows sum to 1; a face without
    a remaining vote for an expression has a row of zeros, so that its cross-entropy is 0.
    """
    checked = _checked(votes)
    return _normalised((_without_single(checked) if drop_single else checked)[:, :_K]).astype(np.float32)


def _checked(votes: npt.ArrayLike) -> _Float:
    counts = np.asarray(votes, np.float64)
    if counts.ndim != 2 or counts.shape[1] != len(VOTE_NAMES):
        raise DataError(f"votes must be [N, {len(VOTE_NAMES)}], got {list(counts.shape)}")
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise DataError("votes must be counts of 0 or more")
    return counts
