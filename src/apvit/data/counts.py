"""The counts of a listing's splits, beside the published ones."""

from __future__ import annotations

from collections import Counter

from apvit.data.listing import Listing, Published
from apvit.data.report import SplitCounts
from apvit.data.rows import SPLITS


def split_counts(listing: Listing) -> list[SplitCounts]:
    """The counts of each split that the listing has, as its owner split it."""
    counts = []
    for split in SPLITS:
        labels = [face.label for face in listing.faces if face.split == split]
        if not labels:
            continue
        per_label = Counter(labels)
        published = listing.published.get(split, Published({}, ""))
        counts.append(
            SplitCounts(
                split=split,
                faces=len(labels),
                published_faces=published.faces,
                labelled=len(labels) - per_label[None],
                published_labelled=published.total,
                per_class={name: per_label[label] for label, name in enumerate(listing.labels.expressions)},
                published_per_class=published.per_class or None,
            )
        )
    return counts


def compare_counts(listing: Listing) -> dict[str, str]:
    """One sentence for each split whose counts differ from the published ones, with the likely cause."""
    sentences = {}
    for counts in split_counts(listing):
        differing = []
        if counts.published_faces not in (None, counts.faces):
            differing.append(f"{counts.faces:,} annotated faces instead of {counts.published_faces:,}")
        if counts.published_labelled not in (None, counts.labelled):
            differing.append(f"{counts.labelled:,} labelled instead of {counts.published_labelled:,}")
        for name, theirs in (counts.published_per_class or {}).items():
            if counts.per_class[name] != theirs:
                differing.append(f"{counts.per_class[name]:,} {name} instead of {theirs:,}")
        if differing:
            published = listing.published[counts.split]
            certain = "" if published.certain else ", which are not certain"
            sentences[counts.split] = (
                f"{counts.split} differs from the published counts{certain} ({published.cause}): {', '.join(differing)}"
            )
    return sentences
