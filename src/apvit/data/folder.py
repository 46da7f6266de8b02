"""Anyone's own pictures: folders called as the expressions, or a CSV.

Folders: `<split>/<expression>/...` or `<expression>/...`, which is train. CSV: `labels.csv` with columns `path` (from
the CSV's folder) and `label`, and if you like `split`, `group` (subject or video that must not straddle splits) and
the face's box `x1`, `y1`, `x2`, `y2` in pixels; a picture may have several faces, one per line. Without the
column `group`, groups are made of the pictures' names (`grouping`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from apvit.data.errors import DataError
from apvit.data.grouping import AUTO, NONE, find_groups
from apvit.data.label_files import LabelFiles, is_picture
from apvit.data.label_meanings import SYNONYMS, ask_for, hint, stated_meanings, stated_protocol
from apvit.data.listing import Listed, Listing
from apvit.data.sources import Source
from apvit.expressions import EXPRESSIONS, LabelSpace
from apvit.files import counted

NAME = "folder"
EXPECTED = "your own pictures: folders <split>/<expression>/ or <expression>/, or a labels.csv with path,label"
TABLE = "labels.csv"
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
    return any(name == TABLE or (is_picture(name) and _expressions(name, SYNONYMS)) for name in source.names)


def list_faces(
    source: Source, *, table: str = TABLE, labels: Mapping[Any, str] | None = None, group_pattern: str = AUTO
) -> Listing:
    """The faces of class folders, or of the CSV `table` where it exists; labels in the order of `EXPRESSIONS`.

    The label space has the expressions that occur. An empty label in a CSV is a face without one. `labels` {folder or
    label: expression} states what numbers and other names mean. `group_pattern` names the groups, as
    `grouping.find_groups` has it; a column `group` of the CSV goes before what is recognized.

    Raises DataError where there is neither, fewer than two expressions occur, or an option makes no sense.
    """
    files = LabelFiles(source)
    names = source.names
    stated = stated_meanings(labels)
    meanings = SYNONYMS | stated
    if table in names:
        entries, described = _table(files, table, set(names), meanings), table
    elif table == TABLE:
        entries, described = _class_folders(files, names, meanings), "class folders"
    else:
        raise DataError(f"{table} is not in {source.path}")
    used = {expression for _, expression in entries if expression is not None}
    if len(used) < 2:
        found = f"only {', '.join(used)}" if used else "no expression"
        first = f" ({files.malformed[0]})" if files.malformed else ""
        raise DataError(f"{source.path} has {found}{first}, and at least two are needed; expected {EXPECTED}")
    space = LabelSpace(NAME, tuple(name for name in EXPRESSIONS if name in used))
    has_groups = any(face.group for face, _ in entries)
    if has_groups and group_pattern not in (AUTO, NONE):
        raise DataError(f"{table} has a column group: leave out group_pattern, or empty that column")
    pictures, expressions = [face.picture for face, _ in entries], [name for _, name in entries]
    groups = find_groups(pictures, expressions, NONE if has_groups else group_pattern)
    faces = [
        replace(face, label=None if name is None else space.index(name), group=face.group or group)
        for (face, name), group in zip(entries, groups.names, strict=True)
    ]
    chosen = f" groups={group_pattern}" if groups.described else ""
    return Listing(
        dataset=NAME,
        description="; ".join(filter(None, (described, groups.described))),
        labels=space,
        protocol=f"{chosen}{stated_protocol(stated)}".strip() or None,
        faces=_numbered(faces),
        grouping=None if has_groups else groups.described,
        inputs=files.inputs,
        malformed=files.malformed,
    )


_Entry = tuple[Listed, str | None]
"""A face whose label is not yet known, and its expression."""


def _expressions(name: str, meanings: Mapping[str, str]) -> set[str]:
    """The expressions that the file's folders are called as."""
    return {meanings[part] for part in name.lower().split("/")[:-1] if part in meanings}


def _class_folders(files: LabelFiles, names: list[str], meanings: Mapping[str, str]) -> list[_Entry]:
    entries: list[_Entry] = []
    unknown: Counter[str] = Counter()
    for name in filter(is_picture, names):
        folders = name.lower().split("/")[:-1]
        expressions = _expressions(name, meanings)
        splits = {SPLIT_NAMES[part] for part in folders if part in SPLIT_NAMES}
        if not expressions:
            unknown[name.rpartition("/")[0]] += 1
        elif len(expressions) > 1 or len(splits) > 1:
            several = sorted(expressions if len(expressions) > 1 else splits)
            files.malformed.append(f"{name} stands in folders of {' and '.join(several)}")
        else:
            entries.append((Listed(splits.pop() if splits else "train", name, name, None), expressions.pop()))
    words = {folder: folder.rpartition("/")[2] for folder in unknown}
    if numbers := sorted({word for word in words.values() if word.isdecimal()}, key=int):
        files.malformed.append(f"folders are called {', '.join(numbers)}, and {ask_for(numbers)}")
    for folder, word in words.items():
        if not word.isdecimal():
            place = f"the folder {folder}" if folder else "the top folder"
            files.malformed.append(
                f"{place} has {counted(unknown[folder], 'picture')} but is called as no expression; {hint(word)}"
            )
    return entries


def _table(files: LabelFiles, table: str, present: set[str], meanings: Mapping[str, str]) -> list[_Entry]:
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
        if word and word not in meanings:
            unknown = ask_for([word]) if word.isdecimal() else hint(word)
            files.malformed.append(f"{where} has the label {fields['label']!r}; {unknown}")
        elif split is None:
            files.malformed.append(f"{where} has the split {fields['split']!r}; known are {', '.join(SPLIT_NAMES)}")
        elif root + path not in present:
            files.malformed.append(f"{where} names {path!r}, which is not beside {table}")
        elif (path, box) in seen:
            files.malformed.append(f"{where} names {path} a second time" + (" with the same box" if box else ""))
        else:
            seen.add((path, box))
            group = fields.get("group") or None
            parsed.append((Listed(split, path, root + path, None, group=group, box=box), meanings.get(word)))
    return parsed


def _box(fields: dict[str, str]) -> tuple[float, float, float, float] | None:
    """The row's box; None where all four are empty, ValueError where they make no box."""
    values = [fields[side] for side in _BOX_COLUMNS]
    if not any(values):
        return None
    x1, y1, x2, y2 = map(float, values)
    if not (all(map(math.isfinite, (x1, y1, x2, y2))) and x1 < x2 and y1 < y2):
        raise ValueError("empty")
    return x1, y1, x2, y2


def _numbered(faces: list[Listed]) -> list[Listed]:
    """Faces of one picture told apart by "#1", "#2" and so on, and kept in one split unless they have a group."""
    total = Counter(face.picture for face in faces)
    number: Counter[str] = Counter()
    numbered = []
    for face in faces:
        number[face.picture] += 1
        if total[face.picture] > 1:
            source = f"{face.source}#{number[face.picture]}"
            face = replace(face, source=source, group=face.group or face.source)
        numbered.append(face)
    return numbered
