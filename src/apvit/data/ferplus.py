"""FER+, FER2013's faces with ten annotators' votes, prepared from either official form."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np

from apvit.data.errors import DataError
from apvit.data.ferplus_counts import published
from apvit.data.ferplus_layouts import EXPECTED, FOLDERS, SIZE, Layout, is_ferplus, read_layout
from apvit.data.label_files import some
from apvit.data.listing import Listed, Listing
from apvit.data.sources import Source
from apvit.data.votes import LABELS, VOTE_NAMES, protocol_for, protocol_labels

__all__ = ["EXPECTED", "NAME", "list_faces", "read_listed", "recognises"]

NAME = "ferplus"
ALIGNMENT = "ferplus-48-v1"
"""The template measured on FER2013's crops as they are."""

_FORMS = {"folders": "PNG and label.csv", "tables": "FER2013's pixels"}

recognises = is_ferplus


def list_faces(source: Source, *, protocol: str = "majority", also_in_test: str | Path | None = None) -> Listing:
    """The annotated faces of FER+ in either official form (`ferplus_layouts`), with their votes.

    A face's label is None where the protocol (`votes.PROTOCOLS`) gives none, so that training on the distribution of
    votes may use it and evaluation does not. The training-only protocols label validation and test by majority.

    Where the test split is absent, `also_in_test` names the faces of train and validation that stand in it: a CSV
    with the header `split,image` and lines such as `FER2013Train,fer0000077.png`.

    Raises DataError for a source that is not FER+ and an unknown protocol.
    """
    protocols = {split: protocol_for(protocol, split) for split in FOLDERS}
    listed, digest = (None, {}) if also_in_test is None else read_listed(also_in_test)
    layout = read_layout(source)
    faces = [face for split in layout.splits for face in _faces(layout, split, protocols[split])]
    warnings = []
    if listed is not None and (absent := sorted(listed - {face.source for face in faces})):
        warnings.append(
            f"{len(absent)} of {len(listed)} faces listed as also in test are not here, the first: {absent[0]}"
        )
    if layout.unused:
        warnings.append(f"named by no label.csv, so not used, are {some(layout.unused, 'picture')}")
    return Listing(
        dataset=NAME,
        description=f"{_FORMS[layout.form]}, votes of {layout.vote_source}, labels by {protocol}",
        labels=LABELS,
        protocol=protocol,
        split_protocols=protocols,
        faces=faces,
        inputs=layout.inputs | digest,
        alignment=ALIGNMENT,
        vote_names=VOTE_NAMES,
        vote_source=layout.vote_source,
        published={
            split: published(
                split,
                Counter(face.label for face in faces if face.split == split),
                vote_source=layout.vote_source,
                protocol=protocols[split],
                unnamed=layout.unnamed.get(split),
            )
            for split in layout.splits
        },
        malformed=layout.malformed,
        warnings=warnings,
        read=layout.read,
        size=(SIZE, SIZE),
        also_in_test=listed,
    )


def _faces(layout: Layout, split: str, protocol: str) -> list[Listed]:
    annotated = layout.splits[split]
    votes = np.array([annotation.votes for annotation in annotated], np.int64).reshape(-1, len(VOTE_NAMES))
    labels = protocol_labels(votes, protocol).tolist()
    return [
        Listed(split, annotation.source, annotation.key, None if label < 0 else label, votes=annotation.votes)
        for annotation, label in zip(annotated, labels, strict=True)
    ]


def read_listed(path: str | Path) -> tuple[frozenset[str], dict[str, str]]:
    """The faces, such as `FER2013Train/fer0000077.png`, that a list names as also in test, and its SHA-256 by name.

    Raises DataError where the file is not such a list.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        rows = [row for row in csv.reader(data.decode("utf-8-sig").splitlines()) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the list of faces that are also in test: {error}") from error
    if not rows or rows[0] != ["split", "image"] or any(len(r) != 2 or r[0] not in FOLDERS.values() for r in rows[1:]):
        raise DataError(
            f"{path} is not a list of faces that are also in test; expected the header split,image and lines such as "
            f"{FOLDERS['train']},fer0000077.png"
        )
    return frozenset("/".join(row) for row in rows[1:]), {path.name: hashlib.sha256(data).hexdigest()}
