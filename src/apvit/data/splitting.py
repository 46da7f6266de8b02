"""Splits that keep together what belongs together: a validation split carved from train."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def join_groups(*namings: Sequence[str]) -> list[str]:
    """One group name for each of N faces, equal wherever any of the `namings` (N names each) is equal.

    Faces of one subject belong together, and so do equal pictures of two subjects, and with them both subjects.
    """
    parents = list(range(len(namings[0])))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = parents[parents[i]]
            i = parents[i]
        return i

    for names in namings:
        first: dict[str, int] = {}
        for i, name in enumerate(names):
            a, b = root(i), root(first.setdefault(name, i))
            # The earlier face stays the root, so that the name does not depend on the order of the namings.
            parents[max(a, b)] = min(a, b)
    return [namings[0][root(i)] for i in range(len(parents))]


def carve(classes: Sequence[Hashable], groups: Sequence[str], share: float, seed: int) -> Mask:
    """A part of N faces with about `share` of each class, no group divided: bool [N].

    classes: label of each face, or None, which counts as a class of its own. groups: its group's name. Groups are
    taken largest first, equal ones in an order drawn by `seed` from their names alone, so that the same groups give
    the same part in whatever order files are listed; each is taken if that brings the counts per class nearer to
    their shares. A class of two faces or more is given one at least, where its groups allow. Where that takes less than
    half of the share, as with groups of few classes each, those follow that disturb the classes least, as long as no
    more than twice the share is taken.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        members[group].append(i)
    totals = Counter(classes)
    wanted = {label: max(share * total, float(total > 1)) if share else 0.0 for label, total in totals.items()}
    taken: Counter[Hashable] = Counter()
    mask = np.zeros(len(classes), bool)

    def change(group: str) -> float:
        """The sum over classes of (taken - wanted)² / wanted with the group, less that without."""
        return sum(
            count * (2 * (taken[label] - wanted[label]) + count) / max(wanted[label], 1e-9)
            for label, count in Counter(classes[i] for i in members[group]).items()
        )

    def take(group: str) -> None:
        taken.update(classes[i] for i in members.pop(group))
        mask[indices[group]] = True

    indices = dict(members)
    for group in sorted(members, key=lambda name: (-len(members[name]), _draw(name, seed))):
        if change(group) < 0:
            take(group)
    while taken.total() < share * len(classes) / 2:
        room = 2 * share * len(classes) - taken.total()
        if not (fitting := [group for group in members if len(members[group]) <= room]):
            break
        take(min(fitting, key=lambda name: (change(name), _draw(name, seed))))
    return mask


def _draw(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest()
