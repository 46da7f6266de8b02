from __future__ import annotations

import re

import pytest

from apvit.data.ferplus_counts import compare_counts

TRAIN = (8733, 7284, 3136, 3022, 2098, 116, 536, 120)


@pytest.mark.parametrize(
    ("split", "faces", "per_class", "vote_source", "protocol", "message"),
    [
        ("train", 28558, TRAIN, "label.csv", "majority", None),
        ("valid", 3579, (1182, 865, 415, 351, 287, 24, 62, 13), "fer2013new.csv", "majority", None),
        ("test", 3573, (3137, 0, 0, 0, 0, 0, 0, 0), "label.csv", "multi-target", "by multi-target .* 3,466"),
        ("train", 28557, (8732, *TRAIN[1:]), "label.csv", "majority", "lines are missing.*28,557 annot.* 8,732"),
        ("train", 28558, (8732, 7285, *TRAIN[2:]), "label.csv", "majority", "votes were changed.*: 8,732 neutral"),
        ("train", 28558, (8740, 7287, 3149, 3014, 2100, 119, 532, 119), "label.csv", "majority",
         "as many .* majority on fer2013new.csv.*25,060 labelled by majority on label.csv instead of 25,045"),
        ("train", 28709, TRAIN, "label.csv", "majority", "these are all rows of FER2013"),
        ("train", 32137, (9913, 8146, 3547, 3370, 2387, 141, 596, 136), "label.csv", "majority", "merged"),
        ("test", 4000, (1083, 892, 394, 382, 269, 16, 86, 15), "label.csv", "majority", "lines were added"),
        # A protocol without a published figure is compared in its faces only.
        ("train", 28561, (1, 0, 0, 0, 0, 0, 0, 0), "fer2013new.csv", "multi-target", None),
    ],
)  # fmt: skip
def test_compare_counts(split, faces, per_class, vote_source, protocol, message):
    found = compare_counts(split, faces, per_class, vote_source=vote_source, protocol=protocol)
    if message is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith(f"{split} differs from the published counts (")
        assert re.search(message, found[0])


def test_compare_unnamed_rows():
    found = compare_counts("train", 28561, TRAIN, vote_source="fer2013new.csv", protocol="argmax10", unnamed=3)
    assert found == [
        "train differs from the published counts (as many are labelled by majority on label.csv): 3 rows without an "
        "image name instead of 148"
    ]
