"""FER+: FER2013's faces with ten annotators' votes, prepared from either official form."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apvit.data.errors import DataError
from apvit.data.ferplus_layouts import EXPECTED, FOLDERS, Layout, Pixels, read_layout
from apvit.data.sources import Source
from apvit.data.store import FaceRow, SplitMetadata
from apvit.data.votes import LABELS, VOTE_NAMES, protocol_for, protocol_labels

NAME = "ferplus"
ALIGNMENT = "ferplus-48-v1"
"""The template measured on FER2013's crops as they are."""

def load(
    src: str | Path,
    *,
    protocol: str = "majority",
    drop_leaks: bool = True,
    also_in_test: str | Path | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Read FER+ from a folder or zip in either official form (`ferplus_layouts`).

    Every annotated face becomes a row with its votes; its label is null where the protocol (`votes.PROTOCOLS`) gives
    none, so that training on the distribution of votes may use it and evaluation does not. The training-only
    protocols label validation and test by majority. With `drop_leaks` the training faces whose pixels stand in
    validation or test are left out; where the test split is absent, `also_in_test` names them: a CSV with the header
    `split,image` and lines such as `FER2013Train,fer0000077.png`.

    Raises DataError for a source that is not FER+, malformed lines, and missing or unreadable pictures.
    """
    protocol_for(protocol, "train")
    listed = {} if also_in_test is None else read_listed(also_in_test)
    with Source(src, EXPECTED) as source:
        layout = read_layout(source)
        if layout.malformed:
            raise DataError(
                f"{len(layout.malformed)} malformed lines in {source.path}, the first: {layout.malformed[0]}; "
                "`apvit data verify ferplus` lists them"
            )
        rows = _read_faces(layout, protocol, progress)
    warnings = []
    groups = {split: {row.group for row in faces} for split, faces in rows.items()}
    splits = {}
    for split, faces in rows.items():
        warnings += count_warnings(layout, split, faces, protocol)
        shared = _shared(split, faces, groups, listed.get(FOLDERS[split], set()))
        leaks: dict[str, Any] = {key: _rows_and_labelled(faces, mask) for key, mask in shared.items()}
        leaking = np.logical_or.reduce(list(shared.values()))
        drop = drop_leaks and split == "train"
        leaks |= {"dropped": int(leaking.sum()) if drop else 0}
        leaks["before"] = _rows_and_labelled(faces, np.ones(len(faces), bool))
        if drop:
            faces = [row for row, leak in zip(faces, leaking, strict=True) if not leak]
        leaks["after"] = _rows_and_labelled(faces, np.ones(len(faces), bool))
        metadata = SplitMetadata(
            dataset=NAME,
            split=split,
            labels=LABELS,
            protocol=protocol_for(protocol, split),
            vote_source=layout.vote_source,
            vote_names=VOTE_NAMES,
            alignment=ALIGNMENT,
            counts=_counts(faces),
            inputs=layout.inputs,
            leaks=leaks,
        )
        splits[split] = (faces, metadata)
    if "test" not in splits and "train" in splits and drop_leaks and also_in_test is None:
        warnings.append(
            "there is no test split, so training faces that also stand in the test split could not be found; "
            "name them with --also-in-test"
        )
    return Prepared(splits, warnings)


def read_listed(path: str | Path) -> dict[str, set[str]]:
    """The image names per official folder of an `also_in_test` file; DataError where it is not one."""
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the list of faces also in test, {path}: {error}") from error
    if not rows or rows[0] != ["split", "image"] or any(len(r) != 2 or r[0] not in FOLDERS.values() for r in rows[1:]):
        raise DataError(f"{path} is not a list of faces also in test: expected the header split,image and lines such "
                        f"as {FOLDERS['train']},fer0000077.png")
    return {folder: {image for name, image in rows[1:] if name == folder} for folder in FOLDERS.values()}


def _read_faces(layout: Layout, protocol: str, progress: Progress | None) -> dict[str, list[FaceRow]]:
    total = sum(map(len, layout.splits.values()))
    done = 0
    bad: list[str] = []
    rows: dict[str, list[FaceRow]] = {}
    for split, annotations in layout.splits.items():
        votes = np.array([annotation.votes for annotation in annotations], np.int64).reshape(-1, len(VOTE_NAMES))
        labels = protocol_labels(votes, protocol_for(protocol, split))
        rows[split] = []
        for annotation, label in zip(annotations, labels, strict=True):
            try:
                image, pixels = layout.pictures.read(annotation.key)
            except DataError as error:
                bad.append(str(error))
            else:
                rows[split].append(
                    FaceRow(
                        image=image,
                        source=annotation.source,
                        label=None if label < 0 else int(label),
                        group=pixel_group(pixels),
                        votes=annotation.votes,
                    )
                )
            done += 1
            if progress is not None:
                progress(done, total)
    if bad:
        raise DataError(
            f"{len(bad)} pictures are missing or unreadable, the first: {bad[0]}; `apvit data verify ferplus` lists "
            "them; repair them or remove their lines from label.csv"
        )
    return rows


def pixel_group(pixels: Pixels) -> str:
    """The identity of a picture, 32 hex digits: equal for equal pixels, however they are encoded."""
    return hashlib.sha256(pixels.tobytes()).hexdigest()[:32]


def _shared(
    split: str, faces: list[FaceRow], groups: dict[str, set[str]], listed: set[str]
) -> dict[str, npt.NDArray[np.bool_]]:
    """For each other split, which faces of `split` stand in it too, [N] bool."""
    shared = {}
    for other, theirs in groups.items():
        if other != split:
            shared[f"also_in_{other}"] = np.array([row.group in theirs for row in faces], bool)
    if listed and split != "test":
        named = np.array([row.source.rpartition("/")[2] in listed for row in faces], bool)
        shared["also_in_test"] = named | shared.get("also_in_test", np.zeros(len(faces), bool))
    return shared


def _rows_and_labelled(faces: list[FaceRow], mask: npt.NDArray[np.bool_]) -> dict[str, int]:
    labelled = np.array([row.label is not None for row in faces], bool)
    return {"rows": int(mask.sum()), "labelled": int((mask & labelled).sum())}


def class_counts(faces: Sequence[FaceRow]) -> tuple[int, ...]:
    """Labelled faces per class of the label space."""
    labels = np.array([row.label for row in faces if row.label is not None], np.int64)
    return tuple(int(n) for n in np.bincount(labels, minlength=len(LABELS)))


def _counts(faces: Sequence[FaceRow]) -> dict[str, Any]:
    per_class = class_counts(faces)
    return {
        "rows": len(faces),
        "labelled": sum(per_class),
        "unlabelled": len(faces) - sum(per_class),
        "per_class": dict(zip(LABELS.expressions, per_class, strict=True)),
    }
