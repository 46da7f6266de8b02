"""The label-order doctor: does the data's label k mean what the weights take it to mean?

Every dataset numbers its expressions in its own order, and a wrong order looks like a bad network. A misordered label
space leaves a mark that weakness does not: whole classes move, each to one other place, in closed cycles.

The rule. Of all one-to-one renamings of the classes, take the one with the highest mean class accuracy. It is made of
cycles (sadness read as surprise, surprise as sadness). A cycle is reported where, averaged over its classes, the share
of faces that land on the other class exceeds the share that lands on its own by at least `GAIN`, and by that much even
after taking off `ERRORS` standard errors for the few faces there may be. The renaming that two known label spaces make
is held to the same rule as a whole, and preferred where it explains more than the cycles that passed: in a weak
network a class that is never recognised can join a cycle and spoil it. A network that always says the same, or says
what it says regardless of the face, gains nothing by any renaming; one that is merely weak loses in one class what it
gains in another.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from apvit.expressions import LABEL_SPACES, LabelSpace

GAIN = 0.25
"""Least mean excess of a cycle's renamed recall over its recall as it stands."""
ERRORS = 3.0
"""Standard errors by which that excess is reduced before it counts; a class of n faces is credited with 1 / sqrt(n)."""


@dataclass(frozen=True)
class Diagnosis:
    """A renaming of classes that explains the predictions far better than the labels do."""

    renamed: tuple[tuple[str, str], ...]
    """(predicted, labelled): what the weights call the first is labelled as the second."""
    accuracy: float
    """As the labels stand."""
    accuracy_renamed: float
    """If the labels were renamed so."""
    orders: tuple[tuple[str, str], ...]
    """Known pairs (written, read): labels written in the first order and read in the second would look like this."""

    def sentence(self) -> str:
        """What is wrong and what to do, for people."""
        moved = ", ".join(f"predicted {predicted} is labelled {labelled}" for predicted, labelled in self.renamed)
        text = (
            f"the labels look misordered: {moved}; renamed so, accuracy would be {self.accuracy_renamed:.3f} instead "
            f"of {self.accuracy:.3f}"
        )
        if self.orders:
            known = " or ".join(f"{written} read as {read}" for written, read in self.orders)
            text += f"; that is the label order of {known}"
        return f"{text}. Check the label space of the data and of the weights before believing these figures."

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "renamed": [{"predicted": predicted, "labelled": labelled} for predicted, labelled in self.renamed],
            "accuracy": self.accuracy,
            "accuracy_renamed": self.accuracy_renamed,
            "orders": [{"written": written, "read": read} for written, read in self.orders],
            "sentence": self.sentence(),
        }


def diagnose_labels(confusion: npt.ArrayLike, space: LabelSpace) -> Diagnosis | None:
    """The renaming that the confusion matrix [K, K] (rows true, columns predicted, counts) shows, or None."""
    counts = np.asarray(confusion, np.float64)
    faces = counts.sum(1)
    shares = counts / np.maximum(faces, 1)[:, None]
    # The least preference for what stands settles ties, which classes that are never predicted leave.
    best = assign(shares + 1e-9 * np.eye(len(counts)))
    every = np.arange(len(counts))
    renamed = every.copy()
    for cycle in _cycles(best):
        if _excess(shares, faces, best, cycle) >= GAIN:
            renamed[cycle] = best[cycle]
    for moves in _known_moves(space).values():
        known = every.copy()
        known[list(moves)] = list(moves.values())
        better = shares[every, known].sum() > shares[every, renamed].sum()
        if better and _excess(shares, faces, known, list(moves)) >= GAIN:
            renamed = known
    moved = np.flatnonzero((renamed != every) & (faces > 0))
    if not len(moved):
        return None
    return Diagnosis(
        renamed=tuple((space.expressions[renamed[i]], space.expressions[i]) for i in moved),
        accuracy=float(counts.diagonal().sum() / faces.sum()),
        accuracy_renamed=float(counts[every, renamed].sum() / faces.sum()),
        orders=_known_orders(shares, faces, {int(i): int(renamed[i]) for i in moved}, space),
    )


def assign(gain: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """[K] the column for each row of `gain` [K, K], each column once, with the largest sum; K at most about 15.

    Dynamic programming over sets of columns: the best way to give the first n rows the n columns of a set.
    """
    size = len(gain)
    best = np.full(1 << size, -math.inf)
    last = np.zeros(1 << size, np.int64)
    best[0] = 0
    for chosen in range(1, 1 << size):
        row = chosen.bit_count() - 1
        for column in range(size):
            if chosen >> column & 1:
                value = best[chosen ^ (1 << column)] + gain[row, column]
                if value > best[chosen]:
                    best[chosen], last[chosen] = value, column
    columns, chosen = np.zeros(size, np.int64), (1 << size) - 1
    for row in reversed(range(size)):
        columns[row] = last[chosen]
        chosen ^= 1 << int(last[chosen])
    return columns


def _cycles(permutation: npt.NDArray[np.int64]) -> list[list[int]]:
    left, cycles = set(range(len(permutation))), []
    while left:
        cycle = [left.pop()]
        while (following := int(permutation[cycle[-1]])) != cycle[0]:
            left.remove(following)
            cycle.append(following)
        cycles.append(cycle)
    return cycles


def _excess(
    shares: npt.NDArray[np.float64], faces: npt.NDArray[np.float64], best: npt.NDArray[np.int64], classes: list[int]
) -> float:
    """Mean of renamed minus present recall over those of `classes` that occur, less `ERRORS` standard errors."""
    classes = [i for i in classes if faces[i] > 0 and best[i] != i]
    if not classes:
        return 0.0
    gains = shares[classes, best[classes]] - shares[classes, classes]
    # A difference of two shares of one sample has variance at most 1 / n.
    return float(gains.mean() - ERRORS * math.sqrt((1 / faces[classes]).sum()) / len(classes))


def _known_orders(
    shares: npt.NDArray[np.float64], faces: npt.NDArray[np.float64], moved: dict[int, int], space: LabelSpace
) -> tuple[tuple[str, str], ...]:
    """Pairs of label spaces that move these classes just so, and no other class against the evidence.

    Of pairs that say the same, those whose size is nearest to `space`: affectnet-8, not -7, for eight classes.
    """
    pairs = []
    for pair, moves in _known_moves(space).items():
        others = {i: j for i, j in moves.items() if faces[i] > 0 and i not in moved}
        # Classes with too few faces, or too weak, to be reported may move along where nothing speaks against it.
        if moved.items() <= moves.items() and all(shares[i, j] >= shares[i, i] for i, j in others.items()):
            pairs.append(pair)
    misfit = {pair: abs(min(len(LABEL_SPACES[name]) for name in pair) - len(space)) for pair in pairs}
    return tuple(pair for pair in pairs if misfit[pair] == min(misfit.values()))


def _known_moves(space: LabelSpace) -> dict[tuple[str, str], dict[int, int]]:
    """For each pair (written, read) of label spaces {labelled: meant}, both in `space`, where these differ."""
    return {
        (written.name, read.name): {
            space.index(labelled): space.index(meant)
            for meant, labelled in zip(written.expressions, read.expressions, strict=False)
            if meant != labelled and {meant, labelled} <= set(space.expressions)
        }
        for written, read in itertools.permutations(LABEL_SPACES.values(), 2)
    }
