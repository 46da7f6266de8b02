"""FER+, FER2013's faces with ten annotators' votes, prepared from either official form."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apvit.data.errors import DataError
from apvit.data.ferplus_counts import compare_counts
from apvit.data.ferplus_layouts import EXPECTED, FOLDERS, Layout, Pixels, read_layout
from apvit.data.rows import FaceRow, Prepared, Progress, SplitMetadata
from apvit.data.sources import Source
from apvit.data.votes import LABELS, VOTE_NAMES, protocol_for, protocol_labels

NAME = "ferplus"
ALIGNMENT = "ferplus-48-v1"
"""The template measured on FER2013's crops as they are."""

_Mask = npt.NDArray[np.bool_]


def load(
    src: str | Path,
    *,
    protocol: str = "majority",
    drop_leaks: bool = True,
    also_in_test: str | Path | None = None,
    only: str | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Read FER+ from a folder or zip in either official form (`ferplus_layouts`).

    Every annotated face becomes a row with its votes; its label is None where the protocol (`votes.PROTOCOLS`) gives
    none, so that training on the distribution of votes may use it and evaluation does not. The training-only
    protocols label validation and test by majority. Equal faces share a group.

    With `drop_leaks` the training faces whose pixels stand in validation or test are left out. Where the test split
    is absent, `also_in_test` names those of train and validation that stand in it: a CSV with the header `split,image`
    and lines such as `FER2013Train,fer0000077.png`; only training faces are dropped for it. `only` names the one split
    to return, so that no more than needed is read.

    Raises DataError for a source that is not FER+, malformed lines, and missing or unreadable pictures.
    """
    protocol_for(protocol, "train")
    listed, listed_digest = ({}, {}) if also_in_test is None else read_listed(also_in_test)
    with Source(src, EXPECTED) as source:
        layout = read_layout(source)
        if layout.malformed:
            raise DataError(
                f"malformed lines in {source.path}: {len(layout.malformed)}, the first: {layout.malformed[0]}; "
                "`apvit data verify ferplus` lists them"
            )
        wanted = set(layout.splits) if only is None else {only}
        if not wanted <= set(layout.splits):
            raise DataError(f"{source.path} has no split {only!r}; it has {', '.join(layout.splits)}")
        needed = set(layout.splits) if drop_leaks and "train" in wanted else wanted
        faces = _read_faces(layout, needed, protocol, progress)
    # One digest for all pictures of a split, in the order of its label.csv; tables have theirs already.
    pictures = {
        f"{FOLDERS[split]}/*.png": hashlib.sha256(b"".join(row.image for row in rows)).hexdigest()
        for split, rows in faces.items()
        if layout.form == "folders"
    }
    warnings = _list_warnings(listed, layout)
    groups = {split: {row.group for row in rows} for split, rows in faces.items()}
    splits = {}
    for split in [split for split in faces if split in wanted]:
        rows, used = faces[split], protocol_for(protocol, split)
        warnings += compare_counts(
            split,
            len(rows),
            class_counts(rows),
            vote_source=layout.vote_source,
            protocol=used,
            unnamed=layout.unnamed.get(split),
        )
        others = {other: theirs for other, theirs in groups.items() if other != split}
        rows, leaks = _drop_leaks(rows, others, listed.get(FOLDERS[split]), drop=drop_leaks and split == "train")
        metadata = SplitMetadata(
            dataset=NAME,
            split=split,
            labels=LABELS,
            protocol=used,
            vote_source=layout.vote_source,
            vote_names=VOTE_NAMES,
            alignment=ALIGNMENT,
            counts=_counts(rows),
            inputs=layout.inputs | pictures | listed_digest,
            leaks=leaks,
        )
        splits[split] = (rows, metadata)
    if drop_leaks and "train" in wanted and "test" not in layout.splits and also_in_test is None:
        warnings.append(
            "there is no test split here, so training faces that stand in it could not be found: name them with "
            "--also-in-test FILE"
        )
    return Prepared(splits, warnings)


def read_listed(path: str | Path) -> tuple[dict[str, set[str]], dict[str, str]]:
    """The image names per official folder in a list of faces that are also in test, and the list's SHA-256 by name.

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
    listed = {folder: {image for name, image in rows[1:] if name == folder} for folder in FOLDERS.values()}
    return listed, {path.name: hashlib.sha256(data).hexdigest()}


def pixel_group(pixels: Pixels) -> str:
    """The identity of a picture, 32 hex digits: equal for equal pixels, however a file encodes them."""
    return hashlib.sha256(pixels.tobytes()).hexdigest()[:32]


def class_counts(rows: Sequence[FaceRow]) -> tuple[int, ...]:
    """Labelled faces per class, in the order of the label space."""
    labels = np.array([row.label for row in rows if row.label is not None], np.int64)
    return tuple(int(count) for count in np.bincount(labels, minlength=len(LABELS)))


def _read_faces(layout: Layout, splits: set[str], protocol: str, progress: Progress | None) -> dict[str, list[FaceRow]]:
    total = sum(len(layout.splits[split]) for split in splits)
    done = 0
    bad: list[str] = []
    faces: dict[str, list[FaceRow]] = {}
    for split in [split for split in layout.splits if split in splits]:
        annotated = layout.splits[split]
        votes = np.array([annotation.votes for annotation in annotated], np.int64).reshape(-1, len(VOTE_NAMES))
        labels = protocol_labels(votes, protocol_for(protocol, split)).tolist()
        rows = faces[split] = []
        for annotation, label in zip(annotated, labels, strict=True):
            try:
                image, pixels = layout.pictures.read(annotation.key)
            except DataError as error:
                bad.append(str(error))
            else:
                known = None if label < 0 else label
                rows.append(FaceRow(image, annotation.source, known, pixel_group(pixels), annotation.votes))
            done += 1
            if progress is not None:
                progress(done, total)
    if bad:
        raise DataError(
            f"{len(bad)} of {total} pictures cannot be used, the first: {bad[0]}; `apvit data verify ferplus` lists "
            "them: repair them, or remove their lines"
        )
    return faces


def _drop_leaks(
    rows: list[FaceRow], others: dict[str, set[str]], listed: set[str] | None, *, drop: bool
) -> tuple[list[FaceRow], dict[str, Any]]:
    """The rows to keep, and the counts for `SplitMetadata.leaks`; `others` has the groups of each other split."""
    shared: dict[str, _Mask] = {
        f"also_in_{other}": np.array([row.group in theirs for row in rows], bool) for other, theirs in others.items()
    }
    if listed is not None:
        named = np.array([row.source.rpartition("/")[2] in listed for row in rows], bool)
        shared["also_in_test"] = named | shared.get("also_in_test", np.zeros(len(rows), bool))
    everything = np.ones(len(rows), bool)
    leaks: dict[str, Any] = {name: _rows_and_labelled(rows, mask) for name, mask in shared.items()}
    leaks["before"] = _rows_and_labelled(rows, everything)
    leaking = np.logical_or.reduce([~everything, *shared.values()])
    kept = [row for row, leak in zip(rows, leaking, strict=True) if not leak] if drop else rows
    leaks["dropped"] = len(rows) - len(kept)
    leaks["after"] = _rows_and_labelled(kept, np.ones(len(kept), bool))
    return kept, leaks


def _rows_and_labelled(rows: Sequence[FaceRow], mask: _Mask) -> dict[str, int]:
    labelled = np.array([row.label is not None for row in rows], bool)
    return {"rows": int(mask.sum()), "labelled": int((mask & labelled).sum())}


def _list_warnings(listed: dict[str, set[str]], layout: Layout) -> list[str]:
    """Says where listed faces are not in the source, so that a list for other data is not passed over in silence."""
    present = {annotation.source for annotated in layout.splits.values() for annotation in annotated}
    names = [f"{FOLDERS[split]}/{image}" for split in layout.splits for image in listed.get(FOLDERS[split], ())]
    absent = sorted(name for name in names if name not in present)
    if not absent:
        return []
    return [f"{len(absent)} of {len(names)} faces listed as also in test are not here, the first: {absent[0]}"]


def _counts(rows: Sequence[FaceRow]) -> dict[str, Any]:
    per_class = class_counts(rows)
    return {
        "rows": len(rows),
        "labelled": sum(per_class),
        "unlabelled": len(rows) - sum(per_class),
        "per_class": dict(zip(LABELS.expressions, per_class, strict=True)),
    }
