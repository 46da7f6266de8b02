"""How far the annotators agreed with the label of each class: what nobody agrees on, no network gets right."""

from __future__ import annotations

from apvit.data import Split


def label_agreement(split: Split) -> dict[str, float] | None:
    """{expression: the mean share of a face's votes that its label got}, over the labelled faces that were voted on.

    Votes for no expression ("unknown", "not a face") are votes. Expressions without such a face, or that nobody could
    vote for, are left out; None where nobody voted on any face.
    """
    names = split.metadata.vote_names
    if split.votes is None or names is None:
        return None
    total = split.votes.sum(1)
    agreement = {}
    for index, name in enumerate(split.metadata.labels.expressions):
        faces = (split.labels == index) & (total > 0)
        if name in names and faces.any():
            agreement[name] = float((split.votes[faces, names.index(name)] / total[faces]).mean())
    return agreement
