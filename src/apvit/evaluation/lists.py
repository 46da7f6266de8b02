"""The occlusion and pose lists of the literature, read from the user's own copies.

They come from the Region Attention Network (Wang et al. 2020, arXiv 1905.04075), whose repository has no licence, so
that they cannot travel with this package. Every file has its own form; all of these are understood:

    test_0003_aligned 3 4      RAF-DB, occlusion: name, label, type of occlusion
    0/test_0004_aligned.jpg    RAF-DB and FERPlus, pose: label/name
    1_fer0034656.png 8 0       FERPlus, occlusion: label_name, always 8, type of occlusion
    val/0/<sha>/               AffectNet, occlusion: a folder of crops, with a slash at the end
    7/<sha>/8.jpg              AffectNet, pose: one crop of that folder; also 0/<sha>.jpg

A first line of two numbers (`1247 7`) counts faces and classes. The last line may lack its end. Names that stand twice
are kept twice, because the published denominators count them so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apvit.data import Split
from apvit.expressions import LABEL_SPACES, LabelSpace
from apvit.files import counted

from .errors import EvaluationError

_HEADER = re.compile(r"(\d+)\s+(\d+)")
_NUMBER = re.compile(r"\d{1,2}")
_PREFIXED = re.compile(r"(\d)_(.+)")
_ENDING = re.compile(r"\.(?:jpe?g|png|bmp|tiff?)$", re.IGNORECASE)
_NAMES = {
    "raf-db": re.compile(r"(?:test|train)_\d+"),
    "ferplus": re.compile(r"fer\d+"),
    "affectnet-8": re.compile(r"[0-9a-f]{32,}"),
}
"""What the names of a dataset's faces look like, by the label space that its lists count in (RAF-DB's from 0)."""


@dataclass(frozen=True)
class ListedFace:
    """One line of a list."""

    name: str
    """The picture's name without folders, ending and `_aligned`, in lower case."""
    label: int | None
    """In `FaceList.labels`."""
    kind: str | None
    """The type of occlusion, a digit whose meaning its authors do not give."""


@dataclass(frozen=True)
class FaceList:
    """A list as its file has it, repeated names and all."""

    path: Path
    labels: LabelSpace
    faces: tuple[ListedFace, ...]
    warnings: tuple[str, ...]

    @property
    def repeated(self) -> int:
        """How many lines name a face that stood before."""
        return len(self.faces) - len({face.name for face in self.faces})


@dataclass(frozen=True)
class Match:
    """A list found in a split."""

    faces: npt.NDArray[np.int64]
    """[n] the index in the split of each line that was found, in the list's order."""
    kinds: list[str | None]
    """[n] their types of occlusion."""
    missing: list[str]
    """Names of the lines that were not found."""
    unlabelled: int
    """Lines whose face has no label in the split; they are in `faces` too."""
    disagreements: list[str]
    """Faces that list and split label differently: "test_0003: happiness in the list, sadness in the data"."""


def read_list(path: str | Path) -> FaceList:
    """Read one list; EvaluationError where it cannot be read or is in none of the forms."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"cannot read the list {path}: {error}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    header = _HEADER.fullmatch(lines[0]) if lines else None
    entries = lines[1:] if header else lines
    if not entries:
        raise EvaluationError(f"the list {path} is empty: give a list of faces such as rafdb_occlusion_list.txt")
    if all(_NUMBER.fullmatch(line) for line in entries):
        raise EvaluationError(
            f"{path} holds labels without names; give the list of names that belongs to it "
            "(val_raf_db_list.txt for val_raf_db_label.txt), which has the labels too"
        )
    faces = tuple(_parse(line, path) for line in entries)
    spaces = {space for face in faces for space, form in _NAMES.items() if form.fullmatch(face.name)}
    if len(spaces) != 1:
        raise EvaluationError(f"{path} mixes faces of {', '.join(sorted(spaces))}: give one list for each dataset")
    labels = LABEL_SPACES[spaces.pop()]
    if odd := [face for face in faces if face.label is not None and face.label >= len(labels)]:
        raise EvaluationError(
            f"{path} labels {odd[0].name} as {odd[0].label}, outside the {len(labels)} of {labels.name}"
        )
    warnings = []
    if header and int(header[1]) != len(faces):
        warnings.append(f"{path.name} announces {counted(int(header[1]), 'face')} and lists {len(faces):,}")
    return FaceList(path, labels, faces, tuple(warnings))


def match_list(faces: FaceList, split: Split) -> Match:
    """Find the list's faces in `split` by their names.

    Raises EvaluationError where none is found, and where a name stands for several faces of the split.
    """
    known: dict[str, list[int]] = {}
    for index, source in enumerate(split.sources):
        known.setdefault(face_name(source), []).append(index)
    found: list[int] = []
    kinds: list[str | None] = []
    missing: list[str] = []
    disagreements: dict[str, str] = {}
    for face in faces.faces:
        indices = known.get(face.name, [])
        if len(indices) > 1:
            raise EvaluationError(
                f"{face.name} of {faces.path} stands for {len(indices)} faces of the {split.metadata.split} split: "
                "prepare the dataset without copies of its pictures"
            )
        if not indices:
            missing.append(face.name)
            continue
        found.append(indices[0])
        kinds.append(face.kind)
        label = split.labels[indices[0]]
        if face.label is not None and label >= 0:
            listed, given = faces.labels.expressions[face.label], split.metadata.labels.expressions[label]
            if listed != given:
                disagreements[face.name] = f"{face.name}: {listed} in the list, {given} in the data"
    if not found:
        first = split.sources[0] if len(split) else "empty"
        raise EvaluationError(
            f"none of {counted(faces.faces, 'face')} of {faces.path} ({faces.faces[0].name}, ...) is in the "
            f"{split.metadata.split} split of {split.metadata.dataset} ({first}, ...): give the dataset and split that "
            "the list belongs to, such as split='test'"
        )
    chosen = np.array(found, np.int64)
    unlabelled = int((split.labels[chosen] < 0).sum())
    return Match(chosen, kinds, missing, unlabelled, list(disagreements.values()))


def list_accuracy(match: Match, right: dict[int, bool]) -> dict[str, Any]:
    """`faces` scored, `accuracy` over them (None without), and `by_kind` the same for each type of occlusion.

    `right` says for each scored face of the split, by its index, whether it was recognised.
    """
    rows = [(kind, right[int(i)]) for i, kind in zip(match.faces, match.kinds, strict=True) if int(i) in right]
    kinds = sorted({kind for kind, _ in rows if kind is not None})
    return {
        **_mean([value for _, value in rows]),
        "by_kind": {kind: _mean([value for own, value in rows if own == kind]) for kind in kinds},
    }


def face_name(source: str) -> str:
    """A picture's name as lists have it: no folders, no "#<face id>", no ending, no `_aligned`, lower case."""
    name = source.rpartition("/")[2].partition("#")[0]
    return _ENDING.sub("", name).lower().removesuffix("_aligned")


def _parse(line: str, path: Path) -> ListedFace:
    where, *fields = line.split()
    parts = [part for part in where.replace("\\", "/").split("/") if part]
    prefixed = _PREFIXED.fullmatch(parts[-1]) if parts else None
    names = [face_name(part) for part in parts] if prefixed is None else [face_name(prefixed[2])]
    named = [i for i, name in enumerate(names) if any(form.fullmatch(name) for form in _NAMES.values())]
    if len(named) != 1 or not all(_NUMBER.fullmatch(field) for field in fields) or len(fields) > 2:
        raise EvaluationError(
            f"{path} has a line that no known list has: {line!r}; expected lines such as `test_0003_aligned 3 4`, "
            "`0/test_0004_aligned.jpg`, `1_fer0034656.png 8 0`, `val/0/<sha>/` or `7/<sha>/8.jpg`"
        )
    if prefixed is not None:
        label: str | None = prefixed[1]
    else:
        before = [part for part in parts[: named[0]] if _NUMBER.fullmatch(part)]
        label = before[-1] if before else fields[0] if fields else None
    return ListedFace(names[named[0]], None if label is None else int(label), fields[1] if len(fields) == 2 else None)


def _mean(values: list[bool]) -> dict[str, Any]:
    return {"faces": len(values), "accuracy": sum(values) / len(values) if values else None}
