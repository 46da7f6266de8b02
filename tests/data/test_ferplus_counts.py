from __future__ import annotations

import re

import pytest

from apvit.data.counts import compare_counts
from apvit.data.ferplus_counts import published
from apvit.data.listing import Listed, Listing
from apvit.data.votes import LABELS

TRAIN = (8733, 7284, 3136, 3022, 2098, 116, 536, 120)


@pytest.mark.parametrize(
    ("split", "faces", "per_class", "vote_source", "protocol", "message"),
    [
        ("train", 28558, TRAIN, "label.csv", "majority", None),
        ("valid", 3579, (1182, 865, 415, 351, 287, 24, 62, 13), "fer2013new.csv", "majority", None),
        ("test", 3573, (3137, 0, 0, 0, 0, 0, 0, 0), "label.csv", "multi-target", "3,137 labelled instead of 3,466"),
        ("train", 28557, (8732, *TRAIN[1:]), "label.csv", "majority", "lines are missing.*28,557 annot.* 8,732"),
        ("train", 28558, (8732, 7285, *TRAIN[2:]), "label.csv", "majority", "votes were changed.*: 8,732 neutral"),
        ("train", 28558, (8740, 7287, 3149, 3014, 2100, 119, 532, 119), "label.csv", "majority",
         "as many .* majority on fer2013new.csv.*25,060 labelled instead of 25,045"),
        ("train", 28709, TRAIN, "label.csv", "majority", "these are all rows of FER2013"),
        ("train", 32137, (9913, 8146, 3547, 3370, 2387, 141, 596, 136), "label.csv", "majority", "merged"),
        ("test", 4000, (1083, 892, 394, 382, 269, 16, 86, 15), "label.csv", "majority", "lines were added"),
        # A protocol without a published figure is compared in its faces only.
        ("train", 28561, (1, 0, 0, 0, 0, 0, 0, 0), "fer2013new.csv", "multi-target", None),
    ],
)  # fmt: skip
def test_compare_counts(split, faces, per_class, vote_source, protocol, message):
    found = compare(split, faces, per_class, vote_source, protocol)
    if message is None:
        assert found == {}
    else:
        assert list(found) == [split]
        assert found[split].startswith(f"{split} differs from the published counts (")
        assert re.search(message, found[split])


def compare(split, faces, per_class, vote_source, protocol, unnamed=None) -> dict[str, str]:
    """What is said of a listing with that many faces, `per_class` of them labelled."""
    counts = dict(enumerate(per_class)) | {None: faces - sum(per_class)}
    expected = published(split, counts, vote_source=vote_source, protocol=protocol, unnamed=unnamed)
    listed = [Listed(split, "", "", label) for label, count in counts.items() for _ in range(count)]
    return compare_counts(Listing("ferplus", "", LABELS, protocol, listed, {}, published={split: expected}))


def test_rows_without_a_name_may_be_the_cause():
    found = compare("train", 28706, (8740, 7287, 3149, 3014, 2100, 119, 532, 118), "fer2013new.csv", "majority", 3)
    assert found["train"].startswith(
        "train differs from the published counts (3 rows have no image name instead of 148): 28,706 annotated"
    )
