"""AffectNet, its manually annotated part: release A (lists and whole pictures) and release B (crops and .npy).

Release A (2017): `Manually_Annotated_file_lists/training.csv` and `validation.csv`, with a header or without, columns
as in `COLUMNS`; pictures `Manually_Annotated_Images/<folder>/<sha>.<suffix>` that show more than the face.
Release B (2021): `train_set/` and `val_set/` (also called `valid_set/`), each with `images/<id>.jpg`, cropped to
224x224, and `annotations/<id>_exp.npy`, `_lnd.npy` and others. Copies without annotations have
`train_set/train_annotations_7class.txt` with lines `<id>.jpg <label>` instead.

The test split was never published. Literature reports on the official validation, so here that is `test`.
"""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from apvit.data.errors import DataError
from apvit.data.label_files import LabelFiles, decimal, is_picture, some, stem_of
from apvit.data.label_meanings import Numbering
from apvit.data.listing import Listed, Listing, Published
from apvit.data.sources import Source
from apvit.expressions import EXPRESSIONS, LABEL_SPACES, LabelSpace

NAME = "affectnet"
EXPECTED = (
    "AffectNet: training.csv and validation.csv with Manually_Annotated_Images/ (release A), or train_set/ and "
    "val_set/ with images/ and annotations/ (release B)"
)
COLUMNS = [
    "subdirectory_filepath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
]
NO_EXPRESSION = {8: "none", 9: "uncertain", 10: "no face"}
"""Labels of pictures that no expression was found in."""
_TABLES = {"training.csv": "train", "validation.csv": "test"}
_SETS = {"train_set": "train", "val_set": "test", "valid_set": "test"}
_B_ANNOTATION = re.compile(r"(?:^|/)(train_set|val_set|valid_set)/annotations/([^/]+)_(exp|lnd)\.npy$")
_B_PICTURE = re.compile(r"(?:^|/)(train_set|val_set|valid_set)/images/([^/]+)\.[^./]+$")
_B_TEXT = re.compile(r"(?:^|/)(train_set|val_set|valid_set)/[^/]*annotations_([78])class\.txt$")
_TRAIN_COUNTS = (74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750)
_TEST_COUNT = 500
# Of the 68 points of the usual mark-up, counted from 0: the eyes' outlines, the nose's tip, the mouth's outer corners.
_FIVE_OF_68 = (range(36, 42), range(42, 48), (30,), (48,), (54,))


def recognises(source: Source) -> bool:
    """Whether either release's label files are there."""
    names = source.names
    if any(_is_table(name) for name in names):
        # Other datasets have a training.csv too.
        return any("Manually_Annotated" in name for name in names)
    return any(_B_TEXT.search(n) or (n.endswith("_exp.npy") and _B_ANNOTATION.search(n)) for n in names)


def list_faces(source: Source, *, classes: int = 8, labels: Mapping[Any, str] | None = None) -> Listing:
    """The faces of either release that are labelled with an expression; `classes` 7 leaves out contempt.

    Pictures labelled none, uncertain or no face are left out and counted in the description. Release A's faces have
    a box, both releases' five landmarks, made from the 68 points. `labels` {number: expression} states what the numbers
    of a copy mean that are not the published ones.

    Raises DataError where this is not AffectNet, has both releases or no pictures, or is numbered otherwise than
    published, and where `classes` is neither 7 nor 8.
    """
    if classes not in (7, 8):
        raise DataError(f"AffectNet is read with classes 7 or 8, not {classes}")
    names = source.names
    space = LABEL_SPACES[f"affectnet-{classes}"]
    files = LabelFiles(source)
    tables = [name for name in names if _is_table(name)]
    sets = [name for name in names if _B_ANNOTATION.search(name) or _B_TEXT.search(name)]
    if tables and sets:
        raise DataError(f"{source.path} has {tables[0]} of release A and {sets[0]} of release B: give one release")
    if tables:
        return _release_a(files, tables, names, space, labels)
    if sets:
        return _release_b(files, names, space, labels)
    raise DataError(f"{source.path} is not AffectNet; expected {EXPECTED}")


def _is_table(name: str) -> bool:
    return name.rpartition("/")[2] in _TABLES and not name.startswith("__MACOSX/")


def _release_a(
    files: LabelFiles, tables: list[str], names: list[str], space: LabelSpace, labels: Mapping[Any, str] | None
) -> Listing:
    # The automatically annotated million stands beside the manual part; its labels are not of people.
    manual = [name for name in tables if "Automatically" not in name]
    by_file = Counter(name.rpartition("/")[2] for name in manual)
    if not manual or max(by_file.values()) > 1:
        raise DataError(
            f"{files.source.path} has {', '.join(manual or tables)}; expected one training.csv and one validation.csv "
            "of the manually annotated part"
        )
    folder = "Manually_Annotated_Images/"
    pictures = [name for name in names if is_picture(name) and "Automatically" not in name]
    pictures = [name for name in pictures if folder in name] or pictures
    if not pictures:
        raise DataError(f"{files.source.path} has no pictures: unpack Manually_Annotated.part*.rar beside the lists")
    index = files.index(pictures, _key)
    numbering = _numbering(8, labels)
    faces: list[Listed] = []
    left_out: Counter[str] = Counter()
    repeated, boxless = [], []
    seen: dict[str, tuple[str, str]] = {}
    for name in manual:
        split = _TABLES[name.rpartition("/")[2]]
        for where, row in _table_rows(files, name):
            picture = row["subdirectory_filepath"]
            number = decimal(row["expression"])
            expression = None if number is None else _expression(number, numbering)
            if not picture or expression is None:
                files.malformed.append(f"{where} has picture {picture!r} and expression {row['expression']!r}")
            elif expression not in space.expressions:
                left_out[expression] += 1
            elif picture in seen:
                if seen[picture] == (split, expression):
                    repeated.append(picture)
                else:
                    files.malformed.append(f"{where} gives {picture} another label or split than an earlier line does")
            elif (box := _box(row)) is None:
                boxless.append(picture)
            else:
                seen[picture] = split, expression
                try:
                    landmarks = _five_landmarks(row["facial_landmarks"].rstrip(";").split(";"))
                except ValueError:
                    files.malformed.append(f"{where} has facial_landmarks that are not 68 points x;y")
                    continue
                # A picture that is missing keeps the list's name, for whoever reads it to say so.
                file = index.get(_key(picture), picture)
                label = space.index(expression)
                faces.append(Listed(split, picture, file, label, box=box, landmarks=landmarks))
    warnings = []
    if boxless:
        warnings.append(f"without a face box, so left out, are {some(boxless, 'picture')}")
    if repeated:
        warnings.append(f"named twice with the same label, used once, are {some(repeated, 'picture')}")
    return _listing(files, "A", "whole pictures with a face box", space, faces, left_out, warnings, numbering)


def _numbering(classes: int, labels: Mapping[Any, str] | None) -> Numbering:
    """Of files with so many classes."""
    return Numbering("AffectNet", LABEL_SPACES[f"affectnet-{classes}"], labels, without_expression=NO_EXPRESSION)


def _expression(number: int, numbering: Numbering) -> str | None:
    """The expression, or why there is none; None for a number that means nothing."""
    return numbering.read(number) or NO_EXPRESSION.get(number)


def _key(name: str) -> str:
    """What a list's name and its file have in common: converting pictures changes the suffix, unpacking the case."""
    return "/".join(name.rpartition(".")[0].lower().split("/")[-2:])


def _table_rows(files: LabelFiles, name: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each row stands and its fields by lower-case column name; the first line may be a header or a row."""
    columns: Sequence[str] | None = None
    for number, row in files.rows(name):
        if columns is None:
            header = [title.lower() for title in row]
            columns = header if COLUMNS[0] in header else COLUMNS
            if missing := [column for column in COLUMNS[:7] if column not in columns]:
                files.malformed.append(f"{name} has no column {', '.join(missing)}")
                return
            if columns is header:
                continue
        if len(row) == len(columns):
            yield f"line {number} of {name}", dict(zip(columns, row, strict=True))
        else:
            files.malformed.append(f"line {number} of {name} has {len(row)} fields instead of {len(columns)}")


def _box(row: dict[str, str]) -> tuple[float, float, float, float] | None:
    """x1, y1, x2, y2; None where the row has none: NULL, or a width below 0."""
    try:
        x, y, width, height = (float(row[f"face_{side}"]) for side in ("x", "y", "width", "height"))
    except ValueError:
        return None
    # Width and height, not the right and bottom edge that some loaders take them for.
    return (x, y, x + width, y + height) if width > 0 and height > 0 else None


def _five_landmarks(numbers: Sequence[str] | Sequence[float]) -> tuple[float, ...] | None:
    """The five points of 68 as 10 numbers; None for none at all, ValueError for another count or no numbers."""
    if len(numbers) == 1 and str(numbers[0]).upper() in ("", "NULL", "NAN"):
        return None
    if len(numbers) != 2 * 68:
        raise ValueError(f"{len(numbers)} numbers")
    five = tuple(
        sum(float(numbers[2 * point + axis]) for point in points) / len(points)
        for points in _FIVE_OF_68
        for axis in (0, 1)
    )
    if not all(map(math.isfinite, five)):
        raise ValueError("not finite")
    return five


def _release_b(files: LabelFiles, names: list[str], space: LabelSpace, labels: Mapping[Any, str] | None) -> Listing:
    pictures = files.index(filter(is_picture, names), _b_key)
    if not pictures:
        raise DataError(f"{files.source.path} has labels but no pictures in train_set/images/ or val_set/images/")
    annotations = {(match[1], match[2], match[3]): name for name in names if (match := _B_ANNOTATION.search(name))}
    warnings: list[str] = []
    if any(kind == "exp" for _, _, kind in annotations):
        numbering = _numbering(8, labels)
        labelled = _npy_labels(files, annotations, numbering)
        described = "crops with .npy annotations"
    else:
        lists = _text_lists(files, names, len(space))
        numbering = _numbering(max(classes for _, classes in lists.values()), labels)
        labelled = _text_labels(files, lists, numbering)
        described = "crops with a list of labels"
        if not labels:
            warnings.append("the lists of labels are a copy's, read in AffectNet's order; compare the counts per class")
    faces: list[Listed] = []
    left_out: Counter[str] = Counter()
    named = set()
    for folder, identity, expression, landmarks in labelled:
        key = f"{folder}/{identity}"
        named.add(key)
        if expression not in space.expressions:
            left_out[expression] += 1
            continue
        picture = pictures.get(key, f"{folder}/images/{identity}.jpg")
        unique = "/".join(picture.split("/")[-3:])
        label = space.index(expression)
        faces.append(Listed(_SETS[folder], unique, picture, label, landmarks=landmarks))
    if unlisted := [name for key, name in pictures.items() if key not in named]:
        warnings.append(f"without an annotation, so not used, are {some(unlisted, 'picture')}")
    return _listing(files, "B", described, space, faces, left_out, warnings, numbering)


def _b_key(name: str) -> str | None:
    match = _B_PICTURE.search(name)
    return match and f"{match[1]}/{match[2]}"


_Labelled = tuple[str, str, str, tuple[float, ...] | None]
"""Folder, id, expression or why there is none, and landmarks of an annotated picture."""


def _npy_labels(
    files: LabelFiles, annotations: dict[tuple[str, str, str], str], numbering: Numbering
) -> Iterator[_Labelled]:
    for (folder, identity, kind), name in annotations.items():
        if kind != "exp":
            continue
        if (value := _npy(files, name)) is None:
            continue
        number = _scalar(value)
        expression = None if number is None else _expression(number, numbering)
        if expression is None:
            files.malformed.append(f"{name} holds no label of 0 to {max(NO_EXPRESSION)}")
            continue
        landmarks = None
        points = annotations.get((folder, identity, "lnd"))
        if points is not None and expression in EXPRESSIONS and (value := _npy(files, points)) is not None:
            try:
                landmarks = _five_landmarks(value.astype(np.float64).ravel().tolist())
            except ValueError:
                files.malformed.append(f"{points} does not hold 68 points")
        yield folder, identity, expression, landmarks


def _npy(files: LabelFiles, name: str) -> npt.NDArray[Any] | None:
    """The array in a file; None, and a sentence in `malformed`, where there is none that is safe to read."""
    data = files.read(name, one_of="annotations/*.npy")
    if data is None:
        return None
    try:
        # Not np.load, which would also open zips and, if told to, pickles.
        value: npt.NDArray[Any] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, SyntaxError, OverflowError, MemoryError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        files.malformed.append(f"{name} is not a readable .npy ({reason})")
        return None
    return value


def _scalar(value: npt.NDArray[Any]) -> int | None:
    """The whole number in an array of one string, bytes or number; None for anything else."""
    if value.size != 1:
        return None
    item = value.reshape(-1)[0]
    text = item.decode("ascii", errors="replace") if isinstance(item, bytes) else str(item)
    return decimal(text.strip().removesuffix(".0"))


def _text_lists(files: LabelFiles, names: list[str], classes: int) -> dict[str, tuple[str, int]]:
    """{folder: (list, its classes)}: lists for as many classes, or those for 8, from which contempt is left out."""
    lists = {(match[1], int(match[2])): name for name in names if (match := _B_TEXT.search(name))}
    chosen = {}
    for folder in sorted({folder for folder, _ in lists}):
        fitting = [(lists[folder, count], count) for count in (classes, 8) if (folder, count) in lists]
        if not fitting:
            raise DataError(f"{folder}/ of {files.source.path} has only a list for 7 classes: choose classes 7")
        chosen[folder] = fitting[0]
    return chosen


def _text_labels(files: LabelFiles, lists: dict[str, tuple[str, int]], numbering: Numbering) -> Iterator[_Labelled]:
    for folder, (name, _) in lists.items():
        seen = set()
        for line_number, line in files.lines(name):
            fields = line.split()
            number = decimal(fields[-1])
            identity = stem_of(fields[0])
            expression = None if number is None else _expression(number, numbering)
            if len(fields) != 2 or expression is None or not identity:
                files.malformed.append(f"line {line_number} of {name} is {line[:80]!r}; expected <id>.jpg <label>")
            elif identity in seen:
                files.malformed.append(f"line {line_number} of {name} names {fields[0]} a second time")
            else:
                seen.add(identity)
                yield folder, identity, expression, None


def _listing(
    files: LabelFiles,
    release: str,
    described: str,
    space: LabelSpace,
    faces: list[Listed],
    left_out: Counter[str],
    warnings: list[str],
    numbering: Numbering,
) -> Listing:
    per_split = {"train": _TRAIN_COUNTS, "test": (_TEST_COUNT,) * len(_TRAIN_COUNTS)}
    published = zip(*(per_split[split] for split in {face.split for face in faces}), strict=True)
    numbering.check(
        files.source.path, dict(zip(LABEL_SPACES["affectnet-8"].expressions, map(sum, published), strict=False))
    )
    counts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items()))
    used = space.expressions
    return Listing(
        dataset=NAME,
        description=f"release {release}, {described}" + (f"; left out: {counts}" if counts else ""),
        labels=space,
        protocol=f"release={release} classes={len(space)} test=official validation{numbering.protocol}",
        faces=faces,
        inputs=files.inputs,
        published={
            "train": Published(
                dict(zip(used, _TRAIN_COUNTS, strict=False)),
                "release A's list has one more face of happiness, without a box; or a part was not unpacked",
            ),
            "test": Published(
                dict.fromkeys(used, _TEST_COUNT),
                "release B lacks one of the 4,000 validation pictures; or a part was not unpacked",
            ),
        },
        malformed=files.malformed,
        warnings=warnings,
    )
