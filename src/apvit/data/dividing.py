"""What becomes of the faces read: training faces that leak are dropped, and a valid split is carved from train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from apvit.data.duplicates import HASH_BYTES, Identified, find_near_duplicates
from apvit.data.errors import DataError
from apvit.data.reading import Face
from apvit.data.report import Finding
from apvit.data.rows import SPLITS
from apvit.data.splitting import carve, join_groups
from apvit.expressions import LabelSpace

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Divided:
    """The faces as they are prepared."""

    faces: dict[str, list[Face]]
    """By split."""
    leaks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """`SplitMetadata.leaks` by split."""
    carved: dict[str, int] | None = None
    """Faces that went from train to valid, {"rows", "labelled"}; None where valid was not carved."""


def divide(
    read: Mapping[str, list[Face]],
    *,
    drop_leaks: bool,
    valid_share: float,
    seed: int,
    also_in_test: AbstractSet[str] | None,
) -> Divided:
    """Drop and carve.

    read: the faces of each split as its owner made it. valid_share: share of train that becomes valid, after leaks
    are dropped; 0 for none. also_in_test: sources that somebody says are in a test split that is not here.

    Raises DataError where train's groups are too large for that share.
    """
    divided = Divided({split: read[split] for split in SPLITS if split in read})
    for split, faces in read.items():
        found = _find_leaks(faces, {other: read[other] for other in read if other != split}, also_in_test)
        kept = np.ones(len(faces), bool)
        if drop_leaks and split == "train":
            kept = ~np.logical_or.reduce([~kept, *found.values()])
        divided.leaks[split] = _leak_counts(faces, found, kept)
        divided.faces[split] = _select(faces, kept)
    if not valid_share:
        return divided
    train = divided.faces["train"]
    groups = join_groups([face.group for face in train], [face.identity for face in train])
    goes = carve([face.listed.label for face in train], groups, valid_share, seed)
    if not goes.any():
        raise DataError(
            f"the {len(set(groups))} groups of train are too large for a valid split of {valid_share:g} of its faces: "
            "give a larger valid_share, or 0 for none"
        )
    valid = divided.faces["valid"] = _select(train, goes)
    divided.faces["train"] = _select(train, ~goes)
    others = {split: divided.faces[split] for split in divided.faces if split != "valid"}
    found = _find_leaks(valid, others, also_in_test)
    divided.leaks["valid"] = _leak_counts(valid, found, np.ones(len(valid), bool))
    return Divided(divided.faces, divided.leaks, _count(train, goes))


def find_carved(faces: Mapping[str, Sequence[Face]], labels: LabelSpace) -> list[Finding]:
    """Nearly equal pictures that carving put into both train and valid: at most one finding."""
    both = [(split, face) for split in ("train", "valid") for face in faces[split]]
    hashes = np.frombuffer(b"".join(face.hashed for _, face in both), np.uint8).reshape(-1, HASH_BYTES)
    return find_near_duplicates([identified(face, labels, split) for split, face in both], hashes)


def identified(face: Face, labels: LabelSpace, split: str | None = None) -> Identified:
    """What duplicates are found by; `split` where it is no longer the listed one."""
    listed = face.listed
    expression = None if listed.label is None else labels.expressions[listed.label]
    return Identified(split or listed.split, listed.source, expression, face.identity, listed.group)


def _find_leaks(
    faces: Sequence[Face], others: Mapping[str, Sequence[Face]], also_in_test: AbstractSet[str] | None
) -> dict[str, Mask]:
    """By `also_in_<split>`: which of the faces stand there, [N]."""
    shared: dict[str, Mask] = {}
    for other, theirs in others.items():
        identities = {face.identity for face in theirs}
        shared[f"also_in_{other}"] = np.array([face.identity in identities for face in faces], bool)
    if also_in_test is not None:
        named = np.array([face.listed.source in also_in_test for face in faces], bool)
        shared["also_in_test"] = named | shared.get("also_in_test", np.zeros(len(faces), bool))
    return shared


def _leak_counts(faces: Sequence[Face], shared: Mapping[str, Mask], kept: Mask) -> dict[str, Any]:
    return {
        **{name: _count(faces, mask) for name, mask in shared.items()},
        "before": _count(faces, np.ones(len(faces), bool)),
        "dropped": int((~kept).sum()),
        "after": _count(faces, kept),
    }


def _count(faces: Sequence[Face], mask: Mask) -> dict[str, int]:
    labelled = np.array([face.listed.label is not None for face in faces], bool)
    return {"rows": int(mask.sum()), "labelled": int((mask & labelled).sum())}


def _select(faces: Sequence[Face], mask: Mask) -> list[Face]:
    return [face for face, chosen in zip(faces, mask, strict=True) if chosen]
