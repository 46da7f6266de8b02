"""What is wrong with a dataset as it lies on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apvit.data.counts import compare_counts, split_counts
from apvit.data.datasets import get_dataset, list_source
from apvit.data.duplicates import (
    HASH_BYTES,
    Identified,
    find_duplicates,
    find_near_duplicates,
    find_straddling,
    perceptual_hash,
)
from apvit.data.errors import DataError
from apvit.data.listing import Listing
from apvit.data.pictures import NoFaceError, ReadFace, pixel_group, work_on_faces
from apvit.data.report import Finding, Report, counted
from apvit.data.rows import SPLITS, Progress
from apvit.data.sources import Source


@dataclass(frozen=True)
class _Checked:
    """The readable faces with their perceptual hashes, and one sentence for each other."""

    faces: list[Identified] = field(default_factory=list)
    hashes: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    boxless: list[str] = field(default_factory=list)


def verify(name: str, src: str | Path, *, progress: Progress | None = None, **options: Any) -> Report:
    """Check dataset `name` at `src`: every line, every picture, counts, duplicates, leaks, groups.

    The options are the dataset's own, those of `list_faces` in its module. Malformed lines, such as labels outside
    the label space, and missing or unreadable pictures are errors; everything else is a warning. Faces with a box are
    compared as crops. Raises DataError where `src` is not that dataset at all.
    """
    dataset = get_dataset(name)
    with Source(src, dataset.EXPECTED) as source:
        listing = list_source(dataset, source, options)
        checked = _check(source, listing, progress)
    findings = []
    if listing.malformed:
        message = f"malformed: {counted(listing.malformed, 'line')}"
        findings.append(Finding("error", "malformed", message, tuple(listing.malformed)))
    if checked.unreadable:
        message = f"missing or unreadable: {counted(checked.unreadable, 'picture')}"
        findings.append(Finding("error", "unreadable", message, tuple(checked.unreadable)))
    if checked.boxless:
        message = f"with a box outside the picture, so `prepare` leaves them out: {counted(checked.boxless, 'face')}"
        findings.append(Finding("warning", "boxes", message, tuple(checked.boxless)))
    findings += [Finding("warning", "notes", message) for message in listing.warnings]
    findings += [Finding("warning", "counts", message) for message in compare_counts(listing).values()]
    findings += find_duplicates(checked.faces)
    findings += find_near_duplicates(checked.faces, np.array(checked.hashes, np.uint8).reshape(-1, HASH_BYTES))
    findings += find_straddling(checked.faces)
    return Report(name, str(src), listing.description, tuple(split_counts(listing)), tuple(findings))


def _check(source: Source, listing: Listing, progress: Progress | None) -> _Checked:
    checked = _Checked()
    faces = [face for split in SPLITS for face in listing.faces if face.split == split]
    for done, (listed, result) in enumerate(work_on_faces(source, listing, faces, _identify), 1):
        if isinstance(result, NoFaceError):
            checked.boxless.append(str(result))
        elif isinstance(result, DataError):
            checked.unreadable.append(str(result))
        else:
            identity, perceptual = result
            expression = None if listed.label is None else listing.labels.expressions[listed.label]
            checked.faces.append(Identified(listed.split, listed.source, expression, identity, listed.group))
            checked.hashes.append(perceptual)
        if progress is not None:
            progress(done, len(faces))
    return checked


def _identify(face: ReadFace) -> tuple[str, npt.NDArray[np.uint8]]:
    return pixel_group(face.pixels), perceptual_hash(face.pixels)
