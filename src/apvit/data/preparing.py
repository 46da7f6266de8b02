"""From an owner's layout to prepared splits: list, read, drop what leaks, carve validation, write.

The pictures are never all in memory: those that are made anew, crops and aligned faces, wait in a nameless file, and
those that stay as shipped are read again when they are written.
"""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from apvit.data.counts import compare_counts
from apvit.data.datasets import Dataset, get_dataset, list_source, options_of
from apvit.data.dividing import Divided, divide, find_carved
from apvit.data.errors import DataError
from apvit.data.listing import Listing
from apvit.data.reading import Alignment, Face, LeftOut, Readout, read_dataset
from apvit.data.report import Finding
from apvit.data.rows import SPLITS, FaceRow, Progress, SplitMetadata
from apvit.data.sources import Source
from apvit.data.store import Split, write_split
from apvit.files import completing, counted, reason

VALID_SHARE = 0.1
"""Share of train that becomes valid where the dataset has no valid split of its own."""
FEW_GROUPS = 5
"""A valid split of fewer people or videos is not worth a figure: intervals draw whole groups."""
ALIGNING_FOLDER = ".aligning"
"""Folder in the output that keeps aligned faces until all are written, so that a killed run can go on."""
LEFT_OUT_FILE = "left_out.csv"
"""Lists the faces of which no picture could be cut: split, source, reason."""
_PARTIAL = ".prepare-"


@dataclass(frozen=True)
class Choices:
    """What whoever prepares may choose for every dataset; DataError for a share out of range."""

    drop_leaks: bool = True
    """Leave out training faces whose pixels stand in valid or test."""
    valid_share: float | None = None
    """Share of train that becomes valid, 0 for none; None: VALID_SHARE. Only where there is no valid split."""
    seed: int | None = None
    """Draws the valid split, and the splits of a dataset that takes a seed; None: 0."""
    alignment: Alignment | None = None

    def __post_init__(self) -> None:
        if self.valid_share is not None and not 0 <= self.valid_share < 1:
            raise DataError(f"the share of train that becomes valid is 0 or more and below 1, not {self.valid_share}")

    def list_faces(self, dataset: Dataset, source: Source, options: dict[str, Any]) -> Listing:
        """The dataset's listing; DataError for a share or seed that has nothing to draw there."""
        takes_seed = "seed" in options_of(dataset)
        if takes_seed and self.seed is not None:
            options = options | {"seed": self.seed}
        listing = list_source(dataset, source, options)
        for option, given, used in (("valid_share", self.valid_share, False), ("seed", self.seed, takes_seed)):
            if listing.faces and not _lacks_valid(listing) and given is not None and not used:
                raise DataError(
                    f"the splits of {dataset.NAME} in {source.path} are given, none is drawn: leave out {option}"
                )
        return listing

    def divide(self, listing: Listing, faces: Mapping[str, list[Face]]) -> Divided:
        """The faces that were read, by split, as they are prepared; DataError where train cannot be carved."""
        try:
            return divide(
                faces,
                drop_leaks=self.drop_leaks,
                valid_share=self.carved_share(listing) if "train" in faces else 0.0,
                seed=self.seed or 0,
                also_in_test=listing.also_in_test,
            )
        except DataError as error:
            if not listing.grouping:
                raise
            raise DataError(f"{error}; these are {listing.grouping}: group_pattern names others, or none") from None

    def carved_share(self, listing: Listing) -> float:
        """Share of train that becomes valid."""
        share = VALID_SHARE if self.valid_share is None else self.valid_share
        return share if _lacks_valid(listing) else 0.0


@dataclass(frozen=True)
class Prepared:
    """What was prepared."""

    splits: dict[str, SplitMetadata]
    """`train`, `valid`, `test`, those that exist."""
    warnings: list[str]
    """Sentences for whoever prepares: differing counts with their likely cause, what could not be looked for."""
    left_out: list[LeftOut]
    description: str
    """What was found in the source, in a few words."""


def prepare(
    name: str,
    src: str | Path,
    out: str | Path,
    *,
    drop_leaks: bool = True,
    valid_share: float | None = None,
    seed: int | None = None,
    align: Alignment | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Prepared:
    """Read dataset `name` at `src` and write `out`/train.parquet, valid.parquet and test.parquet, those that exist.

    Where the dataset has no valid split, `valid_share` of train (default VALID_SHARE, 0 for none) becomes one, drawn
    by `seed`: stratified, and dividing neither groups nor equal pictures. With `drop_leaks` the training faces whose
    pixels stand in valid or test are left out. A face with a box is cropped to it, unless `align` says to which
    template all faces are aligned. Faces of which no picture could be cut are listed in `out`/left_out.csv. The other
    options are the dataset's own, those of `list_faces` in its module.

    Nothing is renamed into `out` before all splits are written, so an interrupted run leaves what was there.

    Raises DataError for an unknown name or option, a source that is not this dataset, malformed lines, missing or
    unreadable pictures, and where the disk refuses.
    """
    choices = Choices(drop_leaks, valid_share, seed, align)
    dataset = get_dataset(name)
    out = Path(out)
    with Source(src, dataset.EXPECTED) as source:
        listing = _list(dataset, source, choices, options)
        try:
            with _workplace(out) as folder, tempfile.TemporaryFile(dir=folder) as made:
                preparation = _Preparation(dataset, source, listing, choices, made)
                splits = preparation.make(None, out / ALIGNING_FOLDER, progress)
                for split, (faces, metadata) in splits.items():
                    write_split(folder / f"{split}.parquet", preparation.rows(faces), metadata)
                for split in splits:
                    os.replace(folder / f"{split}.parquet", out / f"{split}.parquet")
                _write_left_out(out / LEFT_OUT_FILE, preparation.left_out)
                shutil.rmtree(out / ALIGNING_FOLDER, ignore_errors=True)
        except OSError as error:
            raise DataError(f"cannot write to {out}: {reason(error)}") from error
    stale = [split for split in SPLITS if split not in splits and (out / f"{split}.parquet").exists()]
    preparation.warnings += [
        f"{out / f'{split}.parquet'} is from an earlier run: {src} has no {split} split" for split in stale
    ]
    prepared = {split: metadata for split, (_, metadata) in splits.items()}
    return Prepared(prepared, preparation.warnings, preparation.left_out, listing.description)


def load_split(dataset: Dataset, src: str | Path, split: str, **options: Any) -> tuple[Split, list[str]]:
    """One split of a dataset in its owner's layout, prepared in memory as by default, and the warnings.

    No more is read than the split needs. Raises DataError where there is no such split, and as `prepare`.
    """
    choices = Choices()
    with Source(src, dataset.EXPECTED) as source, tempfile.TemporaryFile() as made:
        preparation = _Preparation(dataset, source, _list(dataset, source, choices, options), choices, made)
        faces, metadata = preparation.make(split, None, None)[split]
        return Split.from_rows(preparation.rows(faces), metadata), preparation.warnings


def _list(dataset: Dataset, source: Source, choices: Choices, options: dict[str, Any]) -> Listing:
    """The listing, free of malformed lines."""
    listing = choices.list_faces(dataset, source, options)
    if listing.malformed:
        raise DataError(
            f"malformed lines in {source.path}: {len(listing.malformed)}, the first: {listing.malformed[0]}; "
            f"`apvit data verify {dataset.NAME}` lists them"
        )
    if not listing.faces:
        raise DataError(f"{source.path} names no face; expected {dataset.EXPECTED}")
    return listing


def _lacks_valid(listing: Listing) -> bool:
    """Whether a valid split can be carved from train: there is none."""
    splits = {face.split for face in listing.faces}
    return "train" in splits and "valid" not in splits


def carved_findings(listing: Listing, divided: Divided) -> list[Finding]:
    """What is wrong with the valid split where it was carved, and what to do."""
    if divided.carved is None:
        return []
    remedy = "" if listing.grouping is None else ": name a person or a video as a group with group_pattern"
    findings = [
        replace(finding, message=f"{finding.message}; valid is carved from train{remedy}")
        for finding in find_carved(divided.faces, listing.labels)
    ]
    train, valid = ({face.listed.label for face in divided.faces[split]} for split in ("train", "valid"))
    if missing := [name for label, name in enumerate(listing.labels.expressions) if label in train - valid]:
        message = f"valid, carved from train in whole groups, has no face of {', '.join(missing)}: a larger valid_share"
        findings.append(Finding("warning", "counts", f"{message} takes more groups"))
    if (groups := len({face.group for face in divided.faces["valid"]})) < FEW_GROUPS:
        message = f"valid, carved from train, holds {counted(groups, 'group')} (a person, video or picture)"
        remedy = "so figures and intervals on it say little of others: a larger valid_share takes more groups"
        findings.append(Finding("warning", "groups", f"{message}, {remedy}"))
    return findings


class _Preparation:
    """The making of the splits of one source; pictures made anew go to the file `made`."""

    def __init__(self, dataset: Dataset, source: Source, listing: Listing, choices: Choices, made: IO[bytes]):
        self._dataset, self._source, self._listing, self._choices, self._made = dataset, source, listing, choices, made
        self._present = {face.split for face in listing.faces}
        self._carved_share = choices.carved_share(listing)
        self.warnings = list(listing.warnings)
        self.left_out: list[LeftOut] = []

    def make(
        self, only: str | None, aligning: Path | None, progress: Progress | None
    ) -> dict[str, tuple[list[Face], SplitMetadata]]:
        """The faces and metadata of each split, or of `only` one; `aligning` keeps unfinished work."""
        choices, listing = self._choices, self._listing
        available = self._present | ({"valid"} if self._carved_share else set())
        if only is not None and only not in available:
            known = ", ".join(split for split in SPLITS if split in available)
            raise DataError(f"{self._source.path} has no split {only!r}; it has {known}")
        wanted = available if only is None else {only}
        needed = wanted if wanted <= self._present else wanted & self._present | {"train"}
        if choices.drop_leaks and "train" in needed:
            needed = self._present
        self._warn(wanted)
        readout = read_dataset(
            self._source, listing, needed, self._made, alignment=choices.alignment, folder=aligning, progress=progress
        )
        self._note_left_out(readout)
        divided = choices.divide(listing, readout.faces)
        for finding in carved_findings(listing, divided):
            first = f"; the first: {finding.details[0]}" if finding.details else ""
            self.warnings.append(finding.message + first)
        return {
            split: (divided.faces[split], self._metadata(split, divided, readout))
            for split in SPLITS
            if split in wanted
        }

    def rows(self, faces: list[Face]) -> Iterator[FaceRow]:
        """The faces with their pictures."""
        for face in faces:
            listed = face.listed
            yield FaceRow(
                image=face.picture(self._source, self._listing, self._made),
                source=listed.source,
                label=listed.label,
                group=face.group,
                votes=listed.votes,
                landmarks=face.landmarks,
                attributes=listed.attributes,
                framing=face.framing,
            )

    def _warn(self, wanted: AbstractSet[str]) -> None:
        differing = compare_counts(self._listing)
        self.warnings += [differing[split] for split in SPLITS if split in wanted and split in differing]
        can_be_told = "also_in_test" in options_of(self._dataset) and self._listing.also_in_test is None
        if self._choices.drop_leaks and "train" in wanted and "test" not in self._present and can_be_told:
            self.warnings.append(
                "there is no test split here, so training faces that stand in it could not be found: name them with "
                "also_in_test"
            )

    def _note_left_out(self, readout: Readout) -> None:
        self.left_out = readout.left_out
        total = len(self.left_out) + sum(map(len, readout.faces.values()))
        if len(self.left_out) == total:
            raise DataError(f"no picture of any of {total} faces could be cut, the first: {self.left_out[0].reason}")
        if self.left_out:
            self.warnings.append(
                f"{len(self.left_out):,} of {total:,} faces are left out because no picture of them could be cut, the "
                f"first: {self.left_out[0].reason}"
            )

    def _metadata(self, split: str, divided: Divided, readout: Readout) -> SplitMetadata:
        listing, alignment = self._listing, self._choices.alignment
        faces = divided.faces[split]
        labels = Counter(face.listed.label for face in faces)
        counts: dict[str, Any] = {
            "rows": len(faces),
            "labelled": len(faces) - labels[None],
            "unlabelled": labels[None],
            "per_class": {name: labels[label] for label, name in enumerate(listing.labels.expressions)},
        }
        if split == "train" and divided.carved is not None:
            counts["carved"] = divided.carved
        if left_out := sum(face.split == split for face in readout.left_out):
            counts["left_out"] = left_out
        template = None if alignment is None else alignment.template
        return SplitMetadata(
            dataset=listing.dataset,
            split=split,
            labels=listing.labels,
            protocol=self._protocol(split),
            vote_source=listing.vote_source,
            vote_names=listing.vote_names,
            alignment=listing.alignment if template is None else template.name,
            alignment_template=None if template is None else template.to_dict(),
            counts=counts,
            inputs=listing.inputs | readout.inputs,
            leaks=divided.leaks[split],
            attribute_names=listing.attribute_names,
        )

    def _protocol(self, split: str) -> str | None:
        if not self._carved_share or split == "test":
            return self._listing.split_protocols.get(split, self._listing.protocol)
        # A carved face has the label that it had in train.
        labelled_by = self._listing.split_protocols.get("train", self._listing.protocol)
        carved = f"valid={self._carved_share:g} of train, seed={self._choices.seed or 0}"
        return carved if labelled_by is None else f"{labelled_by} {carved}"


@contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """A folder inside `out` that is gone afterwards, and `out` with it where it is new and something went wrong."""
    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    for abandoned in out.glob(f"{_PARTIAL}*"):  # of a run that was killed
        shutil.rmtree(abandoned, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=out) as folder:
            yield Path(folder)
    except BaseException:
        if is_new:
            with suppress(OSError):  # not empty: aligned faces wait there for the next run
                out.rmdir()
        raise


def _write_left_out(path: Path, left_out: list[LeftOut]) -> None:
    """Write the list, or remove that of an earlier run."""
    if not left_out:
        path.unlink(missing_ok=True)
        return
    with completing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "source", "reason"])
        writer.writerows([face.split, face.source, face.reason] for face in left_out)
