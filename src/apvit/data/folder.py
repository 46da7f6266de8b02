"""Anyone's own pictures: folders called as the expressions, or a CSV.

Folders: `<split>/<expression>/...` or `<expression>/...`, which is train. CSV: `labels.csv` with columns `path` (from
the CSV's folder) and `label`, and if you like `split`, `group` (subject or video that must not straddle splits) and
the face's box `x1`, `y1`, `x2`, `y2` in pixels; a picture may have several faces, one per line.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from dataclasses import replace

from apvit.data.errors import DataError
from apvit.data.label_files import LabelFiles, is_picture
from apvit.data.listing import Listed, Listing
from apvit.data.sources import Source
from apvit.expressions import EXPRESSIONS, LabelSpace

NAME = "folder"
EXPECTED = "your own pictures: folders <split>/<expression>/ or <expression>/, or a labels.csv with path,label"
TABLE = "labels.csv"
SYNONYMS = {
    **{name: name for name in EXPRESSIONS},
    "happy": "happiness",
    "joy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "disgusted": "disgust",
    "angry": "anger",
    "contemptuous": "contempt",
}
"""What folders and labels may be called, in lower case, and the expression it means."""
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
_BOX_COLUMNS = ("x1", "y1", "x2", "y2")


def recognises(source: Source) -> bool:
    """Whether there is a labels.csv at the top, or a picture below a folder called as an expression.

    True for many datasets' own layouts, so it is to be asked last.
    """
    return any(name == TABLE or (is_picture(name) and _expressions(name)) for name in source.names)


def list_faces(source: Source, *, table: str = TABLE) -> Listing:
    """The faces of class folders, or of the CSV `table` where it exists; labels in the order of `EXPRESSIONS`.

    The label space has the expressions that occur. An empty label in a CSV is a face without one.

    Raises DataError where there is neither, or fewer than two expressions occur.
    """
    files = LabelFiles(source)
    names = source.names
    if table in names:
        entries, described = _table(files, table, set(names)), table
    elif table == TABLE:
        entries, described = _class_folders(files, names), "class folders"
    else:
        raise DataError(f"{table} is not in {source.path}")
    used = {expression for _, expression in entries if expression is not None}
    if len(used) < 2:
        found = f"only {', '.join(used)}" if used else "no expression"
        first = f" ({files.malformed[0]})" if files.malformed else ""
        raise DataError(f"{source.path} has {found}{first}, and at least two are needed; expected {EXPECTED}")
    labels = LabelSpace(NAME, tuple(name for name in EXPRESSIONS if name in used))
    return Listing(
        dataset=NAME,
        description=described,
        labels=labels,
        protocol=None,
        faces=[replace(face, label=None if name is None else labels.index(name)) for face, name in entries],
        inputs=files.inputs,
        malformed=files.malformed,
    )


_Entry = tuple[Listed, str | None]
"""A face whose label is not yet known, and its expression."""


def _expressions(name: str) -> set[str]:
    """The expressions that the file's folders are called as."""
    return {SYNONYMS[part] for part in name.lower().split("/")[:-1] if part in SYNONYMS}


def _class_folders(files: LabelFiles, names: list[str]) -> list[_Entry]:
    entries: list[_Entry] = []
    unknown: Counter[str] = Counter()
    for name in filter(is_picture, names):
        folders = name.lower().split("/")[:-1]
        expressions = _expressions(name)
        splits = {SPLIT_NAMES[part] for part in folders if part in SPLIT_NAMES}
        if not expressions:
            unknown[name.rpartition("/")[0]] += 1
        elif len(expressions) > 1 or len(splits) > 1:
            several = sorted(expressions if len(expressions) > 1 else splits)
            files.malformed.append(f"{name} stands in folders of {' and '.join(several)}")
        else:
            entries.append((Listed(splits.pop() if splits else "train", name, name, None), expressions.pop()))
    for folder, count in unknown.items():
        word = folder.rpartition("/")[2]
        pictures = f"{count} picture{'' if count == 1 else 's'}"
        place = f"the folder {folder}" if folder else "the top folder"
        files.malformed.append(f"{place} has {pictures} but is called as no expression; {_hint(word)}")
    return entries


def _hint(word: str) -> str:
    """What an unknown word may have meant."""
    close = difflib.get_close_matches(word.lower(), SYNONYMS, n=1)
    meant = f"is {word} {close[0]}? " if close else ""
    return f"{meant}known are {', '.join(SYNONYMS)}"


def _table(files: LabelFiles, table: str, present: set[str]) -> list[_Entry]:
    rows = files.rows(table)
    header = [title.lower() for title in next(rows, (0, []))[1]]
    missing = [column for column in ("path", "label") if column not in header]
    boxed = set(_BOX_COLUMNS) <= set(header)
    if missing or (not boxed and set(_BOX_COLUMNS) & set(header)) or len(set(header)) < len(header):
        raise DataError(
            f"{table} has the header {','.join(header)[:80]!r}; expected path,label and, if you like, split, group and "
            f"{','.join(_BOX_COLUMNS)}"
        )
    folder = table.rpartition("/")[0]
    root = folder and f"{folder}/"
    parsed: list[_Entry] = []
    seen: set[tuple[str, object]] = set()
    for number, row in rows:
        where = f"line {number} of {table}"
        if len(row) != len(header):
            files.malformed.append(f"{where} has {len(row)} fields instead of {len(header)}")
            continue
        fields = dict(zip(header, row, strict=True))
        path, word = fields["path"].replace("\\", "/").removeprefix("./"), fields["label"].lower()
        split = SPLIT_NAMES.get(fields.get("split", "").lower() or "train")
        try:
            box = _box(fields) if boxed else None
        except ValueError:
            files.malformed.append(f"{where} has the box {','.join(fields[side] for side in _BOX_COLUMNS)}")
            continue
        if word and word not in SYNONYMS:
            files.malformed.append(f"{where} has the label {fields['label']!r}; {_hint(word)}")
        elif split is None:
            files.malformed.append(f"{where} has the split {fields['split']!r}; known are {', '.join(SPLIT_NAMES)}")
        elif root + path not in present:
            files.malformed.append(f"{where} names {path!r}, which is not beside {table}")
        elif (path, box) in seen:
            files.malformed.append(f"{where} names {path} a second time" + (" with the same box" if box else ""))
        else:
            seen.add((path, box))
            group = fields.get("group") or None
            parsed.append((Listed(split, path, root + path, None, group=group, box=box), SYNONYMS.get(word)))
    return _numbered(parsed)


def _box(fields: dict[str, str]) -> tuple[float, float, float, float] | None:
    """The row's box; None where all four are empty, ValueError where they make no box."""
    values = [fields[side] for side in _BOX_COLUMNS]
    if not any(values):
        return None
    x1, y1, x2, y2 = map(float, values)
    if not (all(map(math.isfinite, (x1, y1, x2, y2))) and x1 < x2 and y1 < y2):
        raise ValueError("empty")
    return x1, y1, x2, y2


def _numbered(entries: list[_Entry]) -> list[_Entry]:
    """Faces of one picture told apart by "#1", "#2" and so on, and kept in one split unless they have a group."""
    total = Counter(face.picture for face, _ in entries)
    number: Counter[str] = Counter()
    numbered = []
    for face, expression in entries:
        number[face.picture] += 1
        if total[face.picture] > 1:
            source = f"{face.source}#{number[face.picture]}"
            face = replace(face, source=source, group=face.group or face.source)
        numbered.append((face, expression))
    return numbered
