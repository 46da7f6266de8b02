"""RAF-DB, the basic subset: seven expressions, one face per picture, official train and test splits.

As its owners ship it: `EmoLabel/list_patition_label.txt` (their spelling) with lines `train_00001.jpg 5`, pictures
`Image/aligned/train_00001_aligned.jpg` (100x100) and `Image/original/train_00001.jpg`, and per picture
`Annotation/manual/train_00001_manu_attri.txt` (five landmarks, gender, race, age group) and
`Annotation/boundingbox/train_00001_boundingbox.txt`. As others copy it: `train/5/train_00001_aligned.jpg`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from apvit.data.errors import DataError
from apvit.data.label_files import LabelFiles, decimal, is_picture, some, stem_of
from apvit.data.label_meanings import Numbering
from apvit.data.listing import Listed, Listing, Published
from apvit.data.sources import Source
from apvit.expressions import LABEL_SPACES

NAME = "raf-db"
EXPECTED = (
    "RAF-DB's basic subset: EmoLabel/list_patition_label.txt with Image/aligned/, or train/ and test/ with 1/ to 7/"
)
LABELS = LABEL_SPACES["raf-db"]
LIST_NAMES = ("list_patition_label.txt", "list_partition_label.txt")
"""The official name, and what those who correct its spelling call it."""
ATTRIBUTE_NAMES = ("gender", "race", "age")
ATTRIBUTE_VALUES = (
    ("male", "female", "unsure"),
    ("caucasian", "african-american", "asian"),
    ("0-3", "4-19", "20-39", "40-69", "70+"),
)
_STEM = re.compile(r"(train|test)_\d+")
_CLASS_FOLDER = re.compile(r"(?:^|/)(train|valid|val|test)(?:_set)?/([0-9]+)/(?=[^/]+$)")
_COUNTS = {
    "train": (1290, 281, 717, 4772, 1982, 705, 2524),
    "test": (329, 74, 160, 1185, 478, 162, 680),
}


def recognises(source: Source) -> bool:
    """Whether the list is there, or class folders with RAF-DB's names."""
    return any(
        name.rpartition("/")[2] in LIST_NAMES or (_CLASS_FOLDER.search(name) and _raf_stem(name))
        for name in source.names
    )


def list_faces(source: Source, *, pictures: str = "aligned", labels: Mapping[Any, str] | None = None) -> Listing:
    """The faces of RAF-DB; `pictures` is the folder to take them from.

    "aligned" are the official 100x100 crops, "original" the whole pictures with face box and landmarks; any other name
    is a folder of your own, such as "aligned_224", whose files may be called with or without "_aligned". Gender, race
    and age group go with all of them, where Annotation/manual is there. `labels` {number: expression} states what the
    numbers of a copy mean that are not the published ones.

    Raises DataError where this is not RAF-DB, has no such pictures, or is numbered otherwise than published.
    """
    names = source.names
    files = LabelFiles(source)
    numbering = Numbering("RAF-DB", LABELS, labels, first=1)
    lists = [name for name in names if name.rpartition("/")[2] in LIST_NAMES and not name.startswith("__MACOSX/")]
    if len(lists) > 1:
        # The whole of RAF-DB has a list for its compound subset too.
        lists = [name for name in lists if "/basic/" in f"/{name}"] or lists
    if len(lists) > 1:
        raise DataError(f"{source.path} holds RAF-DB's list more than once ({', '.join(lists)}): give one of them")
    if lists:
        return _official(files, lists[0], names, pictures, numbering)
    if any(_CLASS_FOLDER.search(name) and _raf_stem(name) for name in names):
        if pictures != "aligned":
            raise DataError(f"{source.path} has class folders, which hold only aligned pictures, not {pictures!r}")
        return _class_folders(files, names, numbering)
    raise DataError(f"{source.path} is not RAF-DB; expected {EXPECTED}")


def _raf_stem(name: str) -> str | None:
    """`train_00001` of a file called `train_00001.jpg` or `train_00001_aligned.jpg`; None for other names."""
    stem = stem_of(name).removesuffix("_aligned")
    return stem if _STEM.fullmatch(stem) else None


def _official(files: LabelFiles, list_name: str, names: list[str], pictures: str, numbering: Numbering) -> Listing:
    folder = list_name.rpartition("/")[0]
    root = folder.removesuffix("EmoLabel") if f"/{folder}".endswith("/EmoLabel") else folder and f"{folder}/"
    below = [name for name in names if name.startswith(root)]
    picture_names = [name for name in below if is_picture(name) and _raf_stem(name)]
    index = files.index((n for n in picture_names if pictures in n[len(root) :].split("/")[:-1]), _raf_stem)
    if not index:
        folders = sorted({name.rpartition("/")[0] for name in picture_names})
        raise DataError(
            f"{files.source.path} has no pictures in a folder {pictures!r} beside {list_name}"
            + (f"; there are some in {', '.join(folders)}: name one of these" if folders else "; unpack aligned.zip")
        )
    labels = _listed_labels(files, list_name, numbering)
    suffix = "_aligned.jpg" if pictures == "aligned" else ".jpg"
    attributes, landmarks = _manual_annotations(files, below, labels)
    boxes = _boxes(files, below, labels) if pictures == "original" else {}
    faces = [
        Listed(
            split=stem.partition("_")[0],
            source=f"{stem}.jpg",
            picture=index.get(stem, f"{root}Image/{pictures}/{stem}{suffix}"),
            label=label,
            box=boxes.get(stem),
            # They are in pixels of the whole picture: on a crop they would be wrong.
            landmarks=landmarks.get(stem) if pictures == "original" else None,
            attributes=attributes.get(stem),
        )
        for stem, label in labels.items()
    ]
    warnings = []
    if unlisted := [name for stem, name in index.items() if stem not in labels]:
        warnings.append(f"{list_name} does not name {some(unlisted, 'picture')}; not used")
    if not attributes:
        warnings.append("there is no Annotation/manual, so accuracy per gender, race and age group cannot be shown")
    elif without := [stem for stem in labels if stem not in attributes]:
        warnings.append(f"without gender, race and age group are {some(without, 'face')}")
    if pictures == "original" and (without := [stem for stem in labels if stem not in boxes]):
        warnings.append(f"without a face box in Annotation/boundingbox are {some(without, 'face')}")
    description = f"the basic subset, pictures of {pictures}"
    return _listing(files, description, pictures, faces, warnings, numbering, bool(attributes))


def _listed_labels(files: LabelFiles, list_name: str, numbering: Numbering) -> dict[str, int]:
    """{train_00001: index in LABELS} in the order of the list."""
    labels: dict[str, int] = {}
    for line_number, line in files.lines(list_name):
        where = f"line {line_number} of {list_name}"
        fields = line.split()
        stem = _raf_stem(fields[0])
        number = decimal(fields[-1])
        if len(fields) != 2 or number is None:
            files.malformed.append(f"{where} is {line[:80]!r}; expected a picture's name and its label")
        elif stem is None:
            files.malformed.append(f"{where} names {fields[0]}; expected a name such as train_00001.jpg")
        elif stem in labels:
            files.malformed.append(f"{where} names {fields[0]} a second time")
        elif (expression := numbering.read(number)) is None:
            hint = ", as of the compound subset" if len(LABELS) < number <= 11 else ""
            files.malformed.append(f"{where} has the label {number}{hint}; {numbering.expected}")
        else:
            labels[stem] = LABELS.index(expression)
    _check(numbering, files, labels)
    return labels


def _check(numbering: Numbering, files: LabelFiles, stems: Iterable[str]) -> None:
    """Raise DataError where the numbers of these faces are not the published ones."""
    splits = {stem.partition("_")[0] for stem in stems}
    counts = zip(*(_COUNTS[split] for split in splits), strict=True)
    numbering.check(files.source.path, dict(zip(LABELS.expressions, map(sum, counts), strict=False)))


def _manual_annotations(
    files: LabelFiles, names: list[str], stems: dict[str, int]
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[float, ...]]]:
    """Attribute values and landmarks, image-left eye first, of each picture that has them."""
    attributes: dict[str, tuple[str, ...]] = {}
    landmarks: dict[str, tuple[float, ...]] = {}
    for stem, name, numbers in _numbers(files, names, stems, "manual", "_manu_attri.txt", 13):
        codes = numbers[10:]
        if any(code not in range(len(known)) for code, known in zip(codes, ATTRIBUTE_VALUES, strict=True)):
            files.malformed.append(
                f"{name} has gender, race and age group {', '.join(f'{code:g}' for code in codes)}; expected 0 to 2, "
                "0 to 2 and 0 to 4"
            )
            continue
        attributes[stem] = tuple(known[int(code)] for code, known in zip(codes, ATTRIBUTE_VALUES, strict=True))
        landmarks[stem] = numbers[:10]
    return attributes, landmarks


def _boxes(files: LabelFiles, names: list[str], stems: dict[str, int]) -> dict[str, tuple[float, float, float, float]]:
    boxes = {}
    for stem, name, (x1, y1, x2, y2) in _numbers(files, names, stems, "boundingbox", "_boundingbox.txt", 4):
        if x1 < x2 and y1 < y2:
            boxes[stem] = (x1, y1, x2, y2)
        else:
            files.malformed.append(f"{name} has an empty box {x1:g}, {y1:g}, {x2:g}, {y2:g}")
    return boxes


def _numbers(
    files: LabelFiles, names: list[str], stems: dict[str, int], folder: str, ending: str, count: int
) -> list[tuple[str, str, tuple[float, ...]]]:
    """Stem, file and numbers of each annotation file of a listed picture; tabs, spaces and line ends part numbers."""
    found = []
    for name in names:
        stem = name.rpartition("/")[2].removesuffix(ending)
        if not name.endswith(ending) or stem not in stems:
            continue
        text = " ".join(line for _, line in files.lines(name, one_of=f"Annotation/{folder}/*")).split()
        try:
            numbers = tuple(map(float, text))
        except ValueError:
            numbers = ()
        if len(numbers) == count and all(map(math.isfinite, numbers)):
            found.append((stem, name, numbers))
        else:
            files.malformed.append(f"{name} does not hold {count} numbers")
    return found


def _class_folders(files: LabelFiles, names: list[str], numbering: Numbering) -> Listing:
    found = [(name, match) for name in names if is_picture(name) and (match := _CLASS_FOLDER.search(name))]
    tables = _csv_labels(files, names)
    faces: dict[str, Listed] = {}
    for name, match in found:
        stem, folder, number = _raf_stem(name), match[1], int(match[2])
        if stem is None:
            files.malformed.append(f"{name} is not called as a picture of RAF-DB, such as train_00001_aligned.jpg")
            continue
        split = _split_of(stem.partition("_")[0], folder)
        if split is None:
            files.malformed.append(f"{name} stands in {folder}/ but is of RAF-DB's other split")
        elif stem in faces:
            files.malformed.append(f"{name} stands in {faces[stem].picture} too")
        elif (expression := numbering.read(number)) is None:
            files.malformed.append(f"{name} stands in the folder {number}; {numbering.expected}")
        elif tables.get(stem, number) != number:
            files.malformed.append(f"{name} stands in the folder {number}, but its label is {tables[stem]}")
        else:
            faces[stem] = Listed(split, f"{stem}.jpg", name, LABELS.index(expression))
    _check(numbering, files, faces)
    present = {_raf_stem(name) for name, _ in found}
    if absent := [stem for stem in tables if stem not in present]:
        files.malformed.append(f"in train_labels.csv or test_labels.csv but in no folder are {some(absent, 'face')}")
    warnings = ["these are class folders made by others, not the official layout; there are no attributes"]
    return _listing(files, "class folders", "aligned", list(faces.values()), warnings, numbering, attributes=False)


def _split_of(own: str, folder: str) -> str | None:
    """The split of a picture whose name begins with `own`, in a folder; None where they contradict each other."""
    if folder in ("valid", "val"):
        # What some call validation is the official test set; others carved it from train.
        return "valid" if own == "train" else "test"
    return own if own == folder else None


def _csv_labels(files: LabelFiles, names: list[str]) -> dict[str, int]:
    """{train_00001: number} of train_labels.csv and test_labels.csv, those that exist."""
    labels = {}
    for name in names:
        if name.rpartition("/")[2] not in ("train_labels.csv", "test_labels.csv"):
            continue
        for number, row in files.rows(name):
            stem, label = _raf_stem(row[0]), decimal(row[-1])
            if stem is not None and label is not None:
                labels[stem] = label
            elif number > 1:  # the first line may be a header
                files.malformed.append(
                    f"line {number} of {name} is {','.join(row)[:80]!r}; expected a name and a label"
                )
    return labels


def _listing(
    files: LabelFiles,
    description: str,
    pictures: str,
    faces: list[Listed],
    warnings: list[str],
    numbering: Numbering,
    attributes: bool,
) -> Listing:
    cause = "the official list has exactly these; lines or pictures are missing, or it was edited"
    return Listing(
        dataset=NAME,
        description=description,
        labels=LABELS,
        protocol=f"pictures={pictures}{numbering.protocol}",
        faces=faces,
        inputs=files.inputs,
        attribute_names=ATTRIBUTE_NAMES if attributes else None,
        published={
            split: Published(dict(zip(LABELS.expressions, counts, strict=True)), cause)
            for split, counts in _COUNTS.items()
        },
        malformed=files.malformed,
        warnings=warnings,
    )
