"""What is wrong with a dataset as it lies on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from apvit.data.counts import compare_counts, split_counts
from apvit.data.datasets import get_dataset
from apvit.data.dividing import identified
from apvit.data.duplicates import (
    HASH_BYTES,
    find_duplicates,
    find_near_duplicates,
    find_straddling,
    perceptual_hash,
)
from apvit.data.errors import DataError
from apvit.data.listing import Listing
from apvit.data.pictures import NoFaceError, ReadFace, pixel_group, work_on_faces
from apvit.data.preparing import Choices, carved_findings
from apvit.data.reading import Face
from apvit.data.report import Finding, Report, Severity
from apvit.data.rows import SPLITS, Progress
from apvit.data.sources import Source
from apvit.files import counted


@dataclass(frozen=True)
class _Checked:
    """The readable faces, and one sentence for each other."""

    faces: list[Face] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    boxless: list[str] = field(default_factory=list)


def verify(
    name: str,
    src: str | Path,
    *,
    valid_share: float | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Check dataset `name` at `src`: every line, every picture, counts, duplicates, leaks, groups.

    Where the dataset has no valid split, the one that `prepare` would carve by `valid_share` and `seed` is checked too.
    The other options are the dataset's own, those of `list_faces` in its module. What `prepare` refuses is an error:
    malformed lines, such as labels outside the label space, missing or unreadable pictures, groups too large to carve;
    everything else is a warning. Faces with a box are compared as crops. Raises DataError where `src` is not that
    dataset at all, or its labels are numbered otherwise than published.
    """
    dataset = get_dataset(name)
    choices = Choices(valid_share=valid_share, seed=seed)
    with Source(src, dataset.EXPECTED) as source:
        listing = choices.list_faces(dataset, source, options)
        checked = _check(source, listing, progress)
    findings = []
    if listing.malformed:
        message = f"malformed: {counted(len(listing.malformed), 'line')}"
        findings.append(Finding("error", "malformed", message, tuple(listing.malformed)))
    elif not listing.faces:
        findings.append(Finding("error", "malformed", f"{src} names no face; expected {dataset.EXPECTED}"))
    if checked.unreadable:
        message = f"missing or unreadable: {counted(len(checked.unreadable), 'picture')}"
        findings.append(Finding("error", "unreadable", message, tuple(checked.unreadable)))
    if checked.boxless:
        severity: Severity = "error" if len(checked.boxless) == len(listing.faces) else "warning"
        message = f"with a box outside the picture, so `prepare` leaves it out: {counted(len(checked.boxless), 'face')}"
        findings.append(Finding(severity, "boxes", message, tuple(checked.boxless)))
    findings += [Finding("warning", "notes", message) for message in listing.warnings]
    findings += [Finding("warning", "counts", message) for message in compare_counts(listing).values()]
    faces = [identified(face, listing.labels) for face in checked.faces]
    hashes = np.frombuffer(b"".join(face.hashed for face in checked.faces), np.uint8).reshape(-1, HASH_BYTES)
    findings += find_duplicates(faces)
    findings += find_near_duplicates(faces, hashes)
    findings += find_straddling(faces)
    findings += _carve(listing, checked.faces, choices)
    return Report(name, str(src), listing.description, tuple(split_counts(listing)), tuple(findings))


def _carve(listing: Listing, faces: list[Face], choices: Choices) -> list[Finding]:
    """What is wrong with the valid split that `prepare` would carve."""
    read = {split: [face for face in faces if face.listed.split == split] for split in SPLITS}
    try:
        divided = choices.divide(listing, {split: members for split, members in read.items() if members})
    except DataError as error:
        return [Finding("error", "groups", str(error))]
    return carved_findings(listing, divided)


def _check(source: Source, listing: Listing, progress: Progress | None) -> _Checked:
    checked = _Checked()
    faces = [face for split in SPLITS for face in listing.faces if face.split == split]
    for done, (listed, result) in enumerate(work_on_faces(source, listing, faces, _identify), 1):
        if isinstance(result, NoFaceError):
            checked.boxless.append(str(result))
        elif isinstance(result, DataError):
            checked.unreadable.append(str(result))
        else:
            identity, hashed = result
            checked.faces.append(Face(listed, identity, hashed, listed.group or identity, None, None, None))
        if progress is not None:
            progress(done, len(faces))
    return checked


def _identify(face: ReadFace) -> tuple[str, bytes]:
    return pixel_group(face.pixels), perceptual_hash(face.pixels).tobytes()
