"""FER+ as its owners ship it, read from either official form.

(a) `FER2013Train/`, `FER2013Valid/`, `FER2013Test/` with PNG and `label.csv`, as FERPlus's generate_training_data.py
writes them; a line is `fer0000000.png,"(0, 0, 48, 48)",<10 votes>`, without a header.
(b) FER2013's `fer2013.csv` (`emotion,pixels,Usage`) or `icml_face_data.csv` (`emotion, Usage, pixels`) beside FERPlus's
`fer2013new.csv` (`Usage,Image name,<10 votes>`). Their rows belong together by order; the numbers in the names skip.
Where the label.csv of FERPlus's repository stand there too, their votes are taken: they differ from those of
fer2013new.csv for 1,601 faces, and the published counts are those of label.csv.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from apvit.data.errors import DataError
from apvit.data.sources import Source
from apvit.data.votes import VOTE_NAMES

SIZE = 48
FOLDERS = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
USAGES = {"Training": "train", "PublicTest": "valid", "PrivateTest": "test"}
EXPECTED = (
    "a folder or zip with FER2013Train/, FER2013Valid/ and FER2013Test/ (PNG and label.csv; those that exist), "
    "or with fer2013.csv or icml_face_data.csv beside fer2013new.csv"
)
FACE_TABLES = ("fer2013.csv", "icml_face_data.csv")
VOTE_TABLE = "fer2013new.csv"
_BOX = (0, 0, SIZE, SIZE)


@dataclass(frozen=True)
class Annotation:
    """One face of FER+: `source` is `FER2013Train/fer0000000.png` in either form."""

    source: str
    votes: tuple[int, ...]
    key: str
    """Where the layout finds the picture."""


@dataclass
class Layout:
    """What stands in a FER+ folder or zip, pictures not yet read."""

    form: str
    """`folders` or `tables`."""
    vote_source: str
    """`label.csv` or `fer2013new.csv`."""
    splits: dict[str, list[Annotation]]
    inputs: dict[str, str]
    """SHA-256 of the tables, or of the zip."""
    malformed: list[str] = field(default_factory=list)
    """One sentence for each line that was left out because it makes no sense."""
    unnamed: dict[str, int] = field(default_factory=dict)
    """Rows of fer2013new.csv without an image name: pictures without a face, which no export contains."""
    read: Callable[[str], bytes] | None = None
    """Gives the picture of a key as PNG, or DataError, where keys are not names of files."""
    unused: list[str] = field(default_factory=list)
    """Pictures that no annotation names."""


def is_ferplus(source: Source) -> bool:
    """Whether the files look like one of the two forms."""
    return any(source.find(name) for name in (VOTE_TABLE, *(f"{folder}/label.csv" for folder in FOLDERS.values())))


def read_layout(source: Source) -> Layout:
    """Read the annotations of either form; DataError where neither is there. Malformed lines are collected."""
    found = {split: source.find(f"{folder}/label.csv") for split, folder in FOLDERS.items()}
    label_files = {split: name for split, name in found.items() if name is not None}
    faces = next((name for name in map(source.find, FACE_TABLES) if name is not None), None)
    votes = source.find(VOTE_TABLE)
    if faces is not None and votes is not None:
        return _read_tables(source, faces, votes, label_files)
    if label_files and faces is None:
        return _read_folders(source, label_files)
    if votes is not None or faces is not None or label_files:
        present = [name for name in (faces, votes, *label_files.values()) if name is not None]
        raise DataError(f"{source.path} holds only {', '.join(present)} of FER+; expected {EXPECTED}")
    raise DataError(f"{source.path} is not FER+; expected {EXPECTED}")


def _read_folders(source: Source, label_files: dict[str, str]) -> Layout:
    malformed: list[str] = []
    inputs = source.archive_digest()
    splits = {}
    folders = {split: name.rpartition("/")[0] for split, name in label_files.items()}
    pictures = [n for n in source.names if n.lower().endswith(".png") and n.rpartition("/")[0] in folders.values()]
    if not pictures:
        raise DataError(
            f"{source.path} has label.csv but no PNG: FERPlus's repository ships none, so put FER2013's fer2013.csv "
            "beside fer2013new.csv, or write the pictures with FERPlus's generate_training_data.py"
        )
    for split, name in label_files.items():
        data = source.read(name)
        if not source.is_zip:
            inputs[f"{FOLDERS[split]}/label.csv"] = hashlib.sha256(data).hexdigest()
        splits[split] = [
            Annotation(f"{FOLDERS[split]}/{image}", votes, f"{folders[split]}/{image}")
            for image, votes in _label_lines(name, data, malformed)
        ]
        if not splits[split]:
            # As if the split were not there, one might be carved from train.
            malformed.append(f"{name} names no picture")
    used = {annotation.key for annotated in splits.values() for annotation in annotated}
    unused = [name for name in pictures if name not in used]
    return Layout("folders", "label.csv", splits, inputs, malformed, unused=unused)


def _label_lines(name: str, data: bytes, malformed: list[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The image name and votes of each line of a label.csv; what is wrong goes to `malformed`."""
    seen = set()
    for line, row in _rows(name, data):
        where = f"line {line} of {name}"
        image = row[0] if row else ""
        if len(row) != 2 + len(VOTE_NAMES):
            malformed.append(f"{where} has {len(row)} fields instead of {2 + len(VOTE_NAMES)}")
        elif not image.strip() or "/" in image or "\\" in image:
            malformed.append(f"{where} names no picture: {image!r}")
        elif image in seen:
            malformed.append(f"{where} names {image} a second time")
        elif _numbers(row[1].strip("() ").split(",")) != _BOX:
            malformed.append(f"{where} has the box {row[1]}, but faces of FER+ are whole pictures, {_BOX}")
        elif (votes := _numbers(row[2:])) is None:
            malformed.append(f"{where} has votes that are not counts: {','.join(row[2:])}")
        else:
            seen.add(image)
            yield image, votes


def _read_tables(source: Source, face_table: str, vote_table: str, label_files: dict[str, str]) -> Layout:
    malformed: list[str] = []
    inputs = source.archive_digest()
    tables = {name: source.read(name) for name in (face_table, vote_table, *label_files.values())}
    if not source.is_zip:
        inputs = {name: hashlib.sha256(data).hexdigest() for name, data in tables.items()}
    pixels, usages = _face_rows(face_table, tables[face_table], malformed)
    named = list(_vote_rows(vote_table, tables[vote_table]))
    if len(named) != len(pixels):
        raise DataError(
            f"{face_table} has {len(pixels)} rows and {vote_table} {len(named)}: they belong together by order, "
            "so both must be the complete official files"
        )
    for row, (usage, _, _) in enumerate(named):
        if usage != usages[row] or usage not in USAGES:
            raise DataError(
                f"row {row + 1} is {usages[row]!r} in {face_table} and {usage!r} in {vote_table}: the files do not "
                "belong together or were re-ordered"
            )
    # Where a name stands twice, the official export writes the later picture over the earlier one.
    last_row = {f"{FOLDERS[USAGES[usage]]}/{image}": row for row, (usage, image, _) in enumerate(named) if image}
    splits: dict[str, list[Annotation]] = {}
    if label_files:
        for split, name in label_files.items():
            images = [(f"{FOLDERS[split]}/{i}", votes) for i, votes in _label_lines(name, tables[name], malformed)]
            splits[split] = [Annotation(image, votes, str(last_row.get(image, image))) for image, votes in images]
        return Layout("tables", "label.csv", splits, inputs, malformed, read=_PixelRows(pixels, face_table).read)
    unnamed = dict.fromkeys(USAGES.values(), 0)
    for row, (usage, image, fields) in enumerate(named):
        split = USAGES[usage]
        votes = _numbers(fields)
        if not image:
            unnamed[split] += 1
        elif votes is None or len(votes) != len(VOTE_NAMES):
            malformed.append(f"row {row + 1} of {vote_table} has votes that are not {len(VOTE_NAMES)} counts")
        else:
            source_name = f"{FOLDERS[split]}/{image}"
            # Both faces of a repeated name are kept; the earlier, which no export has, is told apart by its row.
            unique = source_name if last_row[source_name] == row else f"{source_name}#{row + 1}"
            splits.setdefault(split, []).append(Annotation(unique, votes, str(row)))
    read = _PixelRows(pixels, face_table).read
    return Layout("tables", VOTE_TABLE, splits, inputs, malformed, unnamed, read)


def _face_rows(name: str, data: bytes, malformed: list[str]) -> tuple[list[bytes | None], list[str]]:
    """The pixels of each row, 2304 bytes or None where malformed, and its Usage."""
    rows = _rows(name, data)
    header = [title.strip() for title in next(rows, (0, []))[1]]
    if not {"pixels", "Usage"} <= set(header):
        raise DataError(f"{name} has the header {','.join(header)[:80]!r}; expected emotion, pixels and Usage")
    pixel_column, usage_column = header.index("pixels"), header.index("Usage")
    pixels: list[bytes | None] = []
    usages = []
    for line, row in rows:
        face = None
        try:
            face = bytes(map(int, row[pixel_column].split()))
        except (ValueError, IndexError):
            malformed.append(f"line {line} of {name} has pixels that are not numbers of 0 to 255")
        else:
            if len(face) != SIZE * SIZE:
                malformed.append(f"line {line} of {name} has {len(face)} pixels instead of {SIZE * SIZE}")
                face = None
        pixels.append(face)
        usages.append(row[usage_column].strip() if len(row) > usage_column else "")
    return pixels, usages


def _vote_rows(name: str, data: bytes) -> Iterator[tuple[str, str, list[str]]]:
    """Usage, image name (empty where there is none) and the vote fields of each row of fer2013new.csv."""
    rows = _rows(name, data)
    header = [title.strip().lower() for title in next(rows, (0, []))[1]]
    if header != ["usage", "image name", *VOTE_NAMES]:
        raise DataError(
            f"{name} has the header {','.join(header)[:120]!r}; expected Usage,Image name,{','.join(VOTE_NAMES)}"
        )
    for _, row in rows:
        usage, image = (*row[:2], "", "")[:2]
        yield usage.strip(), image.strip(), row[2:]


def _rows(name: str, data: bytes) -> Iterator[tuple[int, list[str]]]:
    """The line number and fields of each line of a table that is not empty."""
    try:
        # Not StringIO, which would blow fer2013.csv's 300 MB up fourfold.
        reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=""))
        for row in reader:
            if row:
                yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{name} is not a readable table ({error})") from error


def _numbers(fields: list[str]) -> tuple[int, ...] | None:
    """The fields as counts of 0 or more; None where one is not."""
    stripped = [field.strip() for field in fields]
    return tuple(map(int, stripped)) if all(f.isascii() and f.isdigit() for f in stripped) else None


class _PixelRows:
    """The pictures of form (b); the key is the row's index in the table, or a name that the table lacks."""

    def __init__(self, rows: list[bytes | None], table: str):
        self._rows = rows
        self._table = table

    def read(self, key: str) -> bytes:
        """The picture as PNG; DataError where there is none."""
        row = self._rows[int(key)] if key.isdecimal() else None
        if row is None:
            name = f"row {int(key) + 1}" if key.isdecimal() else key
            raise DataError(f"{self._table} has no readable picture for {name}")
        encoded = io.BytesIO()
        Image.fromarray(np.frombuffer(row, np.uint8).reshape(SIZE, SIZE)).save(encoded, "PNG")
        return encoded.getvalue()
