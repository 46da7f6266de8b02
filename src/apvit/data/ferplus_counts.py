"""The published counts of FER+, and what a difference from them probably means.

All were computed from the official tables; 25,045 / 3,191 / 3,137, Microsoft's majority rule on label.csv, are also
the sizes of RAN's published lists (kaiwang960112/Challenge-condition-FER-dataset).
"""

from __future__ import annotations

from collections.abc import Mapping

from apvit.data.listing import Published
from apvit.data.rows import SPLITS
from apvit.data.votes import LABELS

FACES = {
    "label.csv": (28558, 3579, 3573),
    # Named rows; four names stand twice, in train three times and in test once.
    "fer2013new.csv": (28561, 3579, 3574),
}
"""Annotated faces of train, valid and test, by vote source."""
UNNAMED = (148, 10, 15)
"""Rows of fer2013new.csv without an image name."""
_FER2013 = (28709, 3589, 3589)

PER_CLASS = {
    ("label.csv", "majority"): (
        (8733, 7284, 3136, 3022, 2098, 116, 536, 120),
        (1180, 862, 411, 348, 289, 25, 60, 16),
        (1083, 892, 394, 382, 269, 16, 86, 15),
    ),
    ("fer2013new.csv", "majority"): (
        (8740, 7287, 3149, 3014, 2100, 119, 532, 119),
        (1182, 865, 415, 351, 287, 24, 62, 13),
        (1090, 893, 396, 384, 273, 18, 83, 16),
    ),
    ("label.csv", "argmax8"): (
        (10377, 7537, 3583, 3559, 2476, 195, 659, 170),
        (1341, 899, 461, 419, 326, 34, 72, 27),
        (1274, 929, 450, 449, 322, 21, 98, 30),
    ),
}
"""Labelled faces of each split per class, in the order of the label space `ferplus`, by vote source and protocol."""

LABELLED = {key: tuple(map(sum, splits)) for key, splits in PER_CLASS.items()} | {
    ("fer2013new.csv", "argmax8"): (28559, 3579, 3573),
    ("label.csv", "argmax10"): (28385, 3555, 3545),
    ("label.csv", "unique-argmax8"): (27193, 3435, 3404),
    ("label.csv", "crossentropy"): (27947, 3508, 3507),
    ("label.csv", "probability"): (27947, 3508, 3507),
    ("label.csv", "multi-target"): (27667, 3472, 3466),
}
"""Labelled faces of each split; for the training-only protocols as if they were applied to validation and test."""


def published(
    split: str, counts: Mapping[int | None, int], *, vote_source: str, protocol: str, unnamed: int | None = None
) -> Published:
    """What was published of `split`, and the likely cause where `counts`, {label: faces}, differ from it.

    unnamed: rows of fer2013new.csv without an image name, where that file was read.
    """
    index = SPLITS.index(split)
    per_class = PER_CLASS.get((vote_source, protocol))
    labelled = LABELLED.get((vote_source, protocol))
    faces = sum(counts.values())
    return Published(
        {} if per_class is None else dict(zip(LABELS.expressions, per_class[index], strict=True)),
        _likely_cause(index, faces, faces - counts.get(None, 0), vote_source, protocol, unnamed),
        faces=FACES[vote_source][index],
        labelled=None if labelled is None else labelled[index],
    )


def _likely_cause(index: int, faces: int, labelled: int, vote_source: str, protocol: str, unnamed: int | None) -> str:
    expected = FACES[vote_source][index]
    for (other_source, other), counts in LABELLED.items():
        if (other_source, other) != (vote_source, protocol) and labelled == counts[index]:
            return f"as many are labelled by {other} on {other_source}"
    if faces == _FER2013[index]:
        return "these are all rows of FER2013, also those that FER+ gives no image name"
    if faces == FACES[vote_source][0] + FACES[vote_source][1]:
        return "train and validation seem to be merged"
    if unnamed not in (None, UNNAMED[index]):
        return f"{unnamed:,} rows have no image name instead of {UNNAMED[index]:,}"
    if faces < expected:
        return "lines are missing: the copy is incomplete or was filtered"
    if faces > expected:
        return "lines were added"
    return "votes were changed"
