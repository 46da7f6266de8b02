"""Pictures that stand in a dataset more than once: equal ones, and nearly equal ones across splits.

Nearly equal pictures are found by a perceptual hash: the signs of the 255 lowest frequencies of the picture's
discrete cosine transform, about their median (as Zauner, "Implementation and Benchmarking of Perceptual Image Hash
Functions", 2010, with more of them, because faces framed alike share the lowest). `benchmarks/near_duplicates/` shows
what it finds and what it confuses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from apvit.data.pictures import Pixels
from apvit.data.report import Finding
from apvit.files import counted

_SIDE = 32
_LOW = 16
"""Frequencies below this in both directions count, all but the mean."""
_FREQUENCIES = np.array(sorted(range(1, _LOW * _LOW), key=lambda i: (sum(divmod(i, _LOW)), i)))
"""Lowest first: those change least when a picture is encoded anew, so the bands are taken from them."""

NEAR = 48
"""Most bits in which the hashes of nearly equal pictures differ."""
BAND, BANDS = 14, 10
"""Two pictures are compared where one of this many runs of this many bits is equal."""
PARTNERS = 64
"""Most pictures that one is compared with in a band: thousands of frames of one video are all alike."""
MOST_LINES = 10_000
"""Most pairs that a finding names; it counts all."""
_AT_ONCE = 1 << 20

HASH_BYTES = _LOW * _LOW // 8
Hashes = npt.NDArray[np.uint8]
"""[N, HASH_BYTES]; the last bit of each is 0."""


@dataclass(frozen=True, slots=True)
class Identified:
    """A readable face, and what it is equal to."""

    split: str
    source: str
    expression: str | None
    """None where it has no label."""
    pixels: str
    """Equal for equal pictures: `pictures.pixel_group`."""
    group: str | None = None
    """Subject, video or picture that it belongs to, where the dataset names one."""


def perceptual_hash(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """The hash of a picture RGB [H, W, 3]: uint8 [HASH_BYTES]; its size, brightness and contrast change it little."""
    import cv2

    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    # Averaging over areas also where it grows would only repeat pixels.
    shrinks = min(grey.shape) > _SIDE
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    low = cv2.dct(small.astype(np.float32))[:_LOW, :_LOW].reshape(-1)[_FREQUENCIES]
    return np.packbits(low > np.median(low))


def near_pairs(first: Hashes, second: Hashes) -> npt.NDArray[np.int64]:
    """Pairs of nearly equal pictures: [K, 2] rows of `first` and of `second`, ascending.

    Only pairs with an equal band are compared, so that the work grows with what is alike rather than with the product
    of the numbers; of pictures that merely were encoded anew, hardly one is missed. Of thousands that are all alike not
    every pair is found.
    """
    found = np.zeros(0, np.int64)
    first_bits, second_bits = np.unpackbits(first, axis=1), np.unpackbits(second, axis=1)
    weights = 1 << np.arange(BAND)
    for start in range(0, BAND * BANDS, BAND):
        first_keys = first_bits[:, start : start + BAND] @ weights
        second_keys = second_bits[:, start : start + BAND] @ weights
        near_here = [found]
        for a, b in _equal_keys(first_keys, second_keys):
            distance = np.bitwise_count(first[a] ^ second[b]).sum(1, dtype=np.int64)
            near = distance <= NEAR
            near_here.append(a[near] * len(second) + b[near])
        found = np.sort(np.concatenate(near_here))
        found = found[np.diff(found, prepend=-1) > 0]  # np.unique hashes, which took a minute for some millions
    return np.stack(np.divmod(found, max(len(second), 1)), axis=1)


def _equal_keys(
    first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """(i, j) with first[i] == second[j], at most PARTNERS for each i, some at a time."""
    order = np.argsort(second, kind="stable")
    ordered = second[order]
    begin, end = np.searchsorted(ordered, first, "left"), np.searchsorted(ordered, first, "right")
    end = np.minimum(end, begin + PARTNERS)
    sums = np.concatenate([[0], np.cumsum(end - begin)])
    at = 0
    while at < len(first):
        until = max(int(np.searchsorted(sums, sums[at] + _AT_ONCE, "right")) - 1, at + 1)
        counts = (end - begin)[at:until]
        a = np.repeat(np.arange(at, until), counts)
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        yield a, order[np.repeat(begin[at:until], counts) + offsets]
        at = until


def find_duplicates(faces: Iterable[Identified]) -> list[Finding]:
    """Groups of equal pictures: within and across splits, and those whose labels contradict each other."""
    groups: dict[str, list[Identified]] = defaultdict(list)
    totals: dict[str, int] = defaultdict(int)
    for face in faces:
        groups[face.pixels].append(face)
        totals[face.split] += face.expression is not None
    repeated = [members for members in groups.values() if len(members) > 1]
    findings = []
    if repeated:
        message = f"{counted(len(repeated), 'group')} of equal pictures, {sum(map(len, repeated)):,} faces in all"
        findings.append(Finding("warning", "duplicates", message, tuple(map(_line, repeated))))
    for first, second in combinations(totals, 2):
        shared = [members for members in repeated if {first, second} <= {face.split for face in members}]
        if shared:
            # Of train and a held-out split, what counts is how many held-out faces were trained on.
            standing = [face for members in shared for face in members if face.split == second]
            labelled = sum(face.expression is not None for face in standing)
            message = (
                f"shared by {first} and {second}: {counted(len(shared), 'group')} of equal pictures, with "
                f"{counted(len(standing), 'face')} of {second}, {labelled:,} of its {totals[second]:,} labelled ones"
            )
            findings.append(Finding("warning", "leaks", message, tuple(map(_line, shared))))
    contradictory = [m for m in repeated if len({face.expression for face in m if face.expression is not None}) > 1]
    if contradictory:
        message = f"contradictory labels in {counted(len(contradictory), 'group')} of equal pictures"
        findings.append(Finding("warning", "contradictions", message, tuple(map(_line, contradictory))))
    return findings


def find_near_duplicates(faces: Sequence[Identified], hashes: Hashes) -> list[Finding]:
    """Nearly equal pictures of two splits, and those of them whose labels contradict each other; equal ones aside.

    hashes: those of the faces, in their order.
    """
    # Of equal pictures one per split is enough: a film's black frames would pair up by the million.
    places: dict[str, dict[str, int]] = defaultdict(dict)
    for i, face in enumerate(faces):
        places[face.split].setdefault(face.pixels, i)
    pixels = _codes(face.pixels for face in faces)
    expressions = _codes(face.expression for face in faces)
    labelled = np.array([face.expression is not None for face in faces], bool)
    findings = []
    for first, second in combinations(places, 2):
        ours, theirs = np.array([*places[first].values()]), np.array([*places[second].values()])
        pairs = near_pairs(hashes[ours], hashes[theirs])
        a, b = ours[pairs[:, 0]], theirs[pairs[:, 1]]
        a, b = a[pixels[a] != pixels[b]], b[pixels[a] != pixels[b]]
        if len(a):
            differing = int((labelled[a] & labelled[b] & (expressions[a] != expressions[b])).sum())
            message = (
                f"shared by {first} and {second}: {counted(len(a), 'pair')} of nearly equal pictures, with "
                f"{counted(len(set(b)), 'face')} of {second}; {differing:,} have different labels"
            )
            lines = (_line((faces[i], faces[j])) for i, j in zip(a[:MOST_LINES], b[:MOST_LINES], strict=True))
            findings.append(Finding("warning", "near-duplicates", message, tuple(lines)))
    return findings


def _codes(names: Iterable[str | None]) -> npt.NDArray[np.int64]:
    """[N] equal numbers for equal names."""
    numbers: dict[str | None, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)


def find_straddling(faces: Iterable[Identified]) -> list[Finding]:
    """Subjects, videos or pictures whose faces stand in two splits."""
    groups: dict[str, dict[str, list[Identified]]] = defaultdict(lambda: defaultdict(list))
    splits: dict[str, None] = {}
    for face in faces:
        splits[face.split] = None
        if face.group is not None:
            groups[face.group][face.split].append(face)
    findings = []
    for first, second in combinations(splits, 2):
        shared = {name: members for name, members in groups.items() if {first, second} <= members.keys()}
        if shared:
            concerned = [face for members in shared.values() for face in members[second]]
            message = (
                f"shared by {first} and {second}: {counted(len(shared), 'group')} (a subject, video or picture), with "
                f"{counted(len(concerned), 'face')} of {second}"
            )
            lines = tuple(
                f"{name}: {counted(len(members[first]), 'face')} in {first}, {len(members[second]):,} in {second}"
                for name, members in shared.items()
            )
            findings.append(Finding("warning", "groups", message, lines))
    return findings


def _line(members: Sequence[Identified]) -> str:
    return ", ".join(f"{face.source} ({face.expression or 'no label'})" for face in members)
