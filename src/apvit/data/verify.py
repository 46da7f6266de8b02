"""What is wrong with a dataset as it lies on disk: a report of findings, and FER+'s checks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sized
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from apvit.data.errors import DataError
from apvit.data.ferplus import NAME, pixel_group
from apvit.data.ferplus_counts import compare_counts, published_classes, published_faces, published_labelled
from apvit.data.ferplus_layouts import EXPECTED, Layout, read_layout
from apvit.data.rows import Progress
from apvit.data.sources import Source
from apvit.data.votes import LABELS, VOTE_NAMES, protocol_labels

PROTOCOL = "majority"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; errors make the data unusable, warnings make figures doubtful."""

    severity: Literal["error", "warning"]
    kind: Literal["malformed", "unreadable", "unlisted", "counts", "duplicates", "leaks", "contradictions"]
    message: str
    """One sentence with the numbers."""
    details: tuple[str, ...] = ()
    """What it concerns, one line each."""


@dataclass(frozen=True)
class SplitCounts:
    """Counts of one split beside the published ones."""

    split: str
    faces: int
    published_faces: int | None
    labelled: int
    published_labelled: int | None
    per_class: dict[str, int]
    published_per_class: dict[str, int] | None


@dataclass(frozen=True)
class Report:
    """The result of a verification."""

    dataset: str
    source: str
    description: str
    """What was found there, in a few words."""
    splits: tuple[SplitCounts, ...]
    findings: tuple[Finding, ...]

    def failed(self, *, strict: bool = False) -> bool:
        """Whether there is an error, or with `strict` any finding."""
        return any(strict or finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """This as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Identified:
    """A readable face: what it is equal to, and what it is labelled."""

    split: str
    source: str
    expression: str | None
    """None where it has no label."""
    group: str


def verify_ferplus(src: str | Path, *, progress: Progress | None = None) -> Report:
    """Check FER+ in either official form: every line, every picture, counts, duplicates, leaks.

    Labels are those of Microsoft's majority rule. Malformed lines and missing or unreadable pictures are errors,
    everything else is a warning. Raises DataError where `src` is not FER+ at all.
    """
    with Source(src, EXPECTED) as source:
        layout = read_layout(source)
        labels = {
            split: protocol_labels(
                np.array([annotation.votes for annotation in annotated]).reshape(-1, len(VOTE_NAMES)), PROTOCOL
            ).tolist()
            for split, annotated in layout.splits.items()
        }
        faces, unreadable = _read(layout, labels, progress)
        used = {annotation.key for annotated in layout.splits.values() for annotation in annotated}
        unlisted = layout.pictures.unused(used)
    findings = []
    if layout.malformed:
        message = f"malformed: {_counted(layout.malformed, 'line')}"
        findings.append(Finding("error", "malformed", message, tuple(layout.malformed)))
    if unreadable:
        message = f"missing or unreadable: {_counted(unreadable, 'picture')}"
        findings.append(Finding("error", "unreadable", message, tuple(unreadable)))
    if unlisted:
        message = f"named by no label.csv, so not used: {_counted(unlisted, 'picture')}"
        findings.append(Finding("warning", "unlisted", message, tuple(unlisted)))
    splits = [_split_counts(split, layout, labels[split]) for split in layout.splits]
    for counts in splits:
        for message in compare_counts(
            counts.split,
            counts.faces,
            tuple(counts.per_class.values()),
            vote_source=layout.vote_source,
            protocol=PROTOCOL,
            unnamed=layout.unnamed.get(counts.split),
        ):
            findings.append(Finding("warning", "counts", message))
    findings += find_duplicates(faces)
    form = {"folders": "PNG and label.csv", "tables": "FER2013's pixels"}[layout.form]
    description = f"{form}, votes of {layout.vote_source}, labels by {PROTOCOL}"
    return Report(NAME, str(src), description, tuple(splits), tuple(findings))


def find_duplicates(faces: Iterable[Identified]) -> list[Finding]:
    """Groups of equal pictures: within and across splits, and those whose labels contradict each other."""
    groups: dict[str, list[Identified]] = defaultdict(list)
    totals: dict[str, int] = defaultdict(int)
    for face in faces:
        groups[face.group].append(face)
        totals[face.split] += face.expression is not None
    repeated = [members for members in groups.values() if len(members) > 1]
    findings = []
    if repeated:
        message = f"{_counted(repeated, 'group')} of equal pictures, {sum(map(len, repeated)):,} faces in all"
        findings.append(Finding("warning", "duplicates", message, tuple(map(_line, repeated))))
    for first, second in combinations(totals, 2):
        shared = [members for members in repeated if {first, second} <= {face.split for face in members}]
        if shared:
            # Of train and a held-out split, what counts is how many held-out faces were trained on.
            standing = [face for members in shared for face in members if face.split == second]
            labelled = sum(face.expression is not None for face in standing)
            message = (
                f"shared by {first} and {second}: {_counted(shared, 'group')} of equal pictures, with "
                f"{_counted(standing, 'face')} of {second}, {labelled:,} of its {totals[second]:,} labelled ones"
            )
            findings.append(Finding("warning", "leaks", message, tuple(map(_line, shared))))
    contradictory = [m for m in repeated if len({face.expression for face in m if face.expression is not None}) > 1]
    if contradictory:
        message = f"contradictory labels in {_counted(contradictory, 'group')} of equal pictures"
        findings.append(Finding("warning", "contradictions", message, tuple(map(_line, contradictory))))
    return findings


def _counted(things: Sized, noun: str) -> str:
    return f"{len(things):,} {noun}{'' if len(things) == 1 else 's'}"


def _line(members: list[Identified]) -> str:
    return ", ".join(f"{face.source} ({face.expression or 'no label'})" for face in members)


def _read(
    layout: Layout, labels: dict[str, list[int]], progress: Progress | None
) -> tuple[list[Identified], list[str]]:
    """The readable faces, and one sentence for each other."""
    total = sum(map(len, layout.splits.values()))
    faces: list[Identified] = []
    unreadable: list[str] = []
    for split, annotated in layout.splits.items():
        for annotation, label in zip(annotated, labels[split], strict=True):
            try:
                _, pixels = layout.pictures.read(annotation.key)
            except DataError as error:
                unreadable.append(str(error))
            else:
                expression = None if label < 0 else LABELS.expressions[label]
                faces.append(Identified(split, annotation.source, expression, pixel_group(pixels)))
            if progress is not None:
                progress(len(faces) + len(unreadable), total)
    return faces, unreadable


def _split_counts(split: str, layout: Layout, labels: list[int]) -> SplitCounts:
    known = [label for label in labels if label >= 0]
    published = published_classes(layout.vote_source, PROTOCOL, split)
    return SplitCounts(
        split=split,
        faces=len(labels),
        published_faces=published_faces(layout.vote_source, split),
        labelled=len(known),
        published_labelled=published_labelled(layout.vote_source, PROTOCOL, split),
        per_class={name: known.count(label) for label, name in enumerate(LABELS.expressions)},
        published_per_class=None if published is None else dict(zip(LABELS.expressions, published, strict=True)),
    )
