"""ExpW, Expression in the Wild: faces in pictures from the web, several in some, seven expressions.

As its owners ship it: `data/image/origin/<name>.jpg`, unpacked from origin.7z.001 and so on, and
`data/label/label.lst`, space separated, without a header: name, face id, box as **top, left, right, bottom**,
confidence of the box, label. There is no official split, so one is drawn here: seeded, and by picture, so that no
picture has faces in two splits. A figure from it compares with others only on the same split.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from apvit.data.errors import DataError
from apvit.data.label_files import LabelFiles, decimal, is_picture, some
from apvit.data.label_meanings import Numbering
from apvit.data.listing import Listed, Listing
from apvit.data.rows import SPLITS
from apvit.data.sources import Source
from apvit.expressions import LABEL_SPACES

NAME = "expw"
EXPECTED = "ExpW: label/label.lst and image/origin/ with the pictures, unpacked from origin.7z.*"
LABELS = LABEL_SPACES["expw"]
LIST_NAME = "label.lst"
# All faces, in the order of the labels; from memory, but the sum is stated by others too.
_COUNTS = (3671, 3995, 1088, 30537, 10559, 7060, 34883)


def recognises(source: Source) -> bool:
    """Whether there is a label.lst."""
    return any(name.rpartition("/")[2] == LIST_NAME for name in source.names)


def list_faces(
    source: Source,
    *,
    seed: int = 0,
    shares: Sequence[float] = (0.75, 0.10, 0.15),
    min_confidence: float | None = None,
    labels: Mapping[Any, str] | None = None,
) -> Listing:
    """The faces of ExpW in a split of its pictures, drawn by `seed`: train, valid and test have `shares` of the faces.

    The split depends on the seed, the shares and the list alone, not on `min_confidence`, below which a face is left
    out, nor on the order of the lines. Exact duplicates of lines are used once, and counted. `labels` {number:
    expression} states what the numbers of a copy mean that are not the published ones.

    Raises DataError where this is not ExpW, its pictures are not unpacked, it is numbered otherwise than published, or
    the shares do not sum to 1.
    """
    if len(shares) != len(SPLITS) or not all(0 <= share <= 1 for share in shares) or not shares[0]:
        raise DataError(f"the shares of train, valid and test are three fractions of 1, not {tuple(shares)}")
    if not math.isclose(sum(shares), 1, abs_tol=1e-9):
        raise DataError(f"the shares of train, valid and test sum to {sum(shares):g} instead of 1")
    files = LabelFiles(source)
    list_name = source.find(LIST_NAME)
    if list_name is None:
        raise DataError(f"{source.path} is not ExpW; expected {EXPECTED}")
    pictures = _pictures(files, source.names)
    numbering = Numbering("ExpW", LABELS, labels)
    lines, repeated = _lines(files, list_name, numbering)
    numbering.check(source.path, dict(zip(LABELS.expressions, _COUNTS, strict=True)))
    faces_in = Counter(name for name, _ in lines)
    splits = _draw(faces_in, seed, shares)
    faces = []
    unsure = 0
    for (name, face_id), (box, confidence, label) in lines.items():
        if min_confidence is not None and confidence < min_confidence:
            unsure += 1
            continue
        unique = f"{name}#{face_id}" if faces_in[name] > 1 else name
        faces.append(Listed(splits[name], unique, pictures.get(name, name), label, group=name, box=box))
    warnings = []
    if repeated:
        warnings.append(f"exact duplicates of an earlier line, used once, are {some(repeated, 'line')}")
    if unsure:
        warnings.append(f"left out for a confidence below {min_confidence:g}: {unsure:,} of {len(lines):,} faces")
    found = Counter(label for _, _, label in lines.values())
    if any(found[label] != count for label, count in enumerate(_COUNTS)):
        warnings.append(
            f"{list_name} has {len(lines):,} faces ({_per_class([found[i] for i in range(len(LABELS))])}); published "
            f"are {sum(_COUNTS):,} ({_per_class(_COUNTS)}, as remembered): lines are missing, or it was edited"
        )
    chosen = "" if min_confidence is None else f" min_confidence={min_confidence:g}"
    return Listing(
        dataset=NAME,
        description=f"{len(faces_in):,} pictures split by seed {seed}",
        labels=LABELS,
        protocol=f"split by picture, seed={seed} shares={'/'.join(f'{share:g}' for share in shares)}{chosen}"
        f"{numbering.protocol}",
        faces=faces,
        inputs=files.inputs,
        malformed=files.malformed,
        warnings=warnings,
    )


_Box = tuple[float, float, float, float]


def _pictures(files: LabelFiles, names: list[str]) -> dict[str, str]:
    """{file name: where it is}, of `origin/` where there is such a folder."""
    pictures = [name for name in names if is_picture(name)]
    if not pictures:
        archives = [name for name in names if ".7z" in name.rpartition("/")[2]]
        hint = f"unpack {archives[0]} (7z x, beside its other parts)" if archives else f"expected {EXPECTED}"
        raise DataError(f"{files.source.path} has a {LIST_NAME} but no pictures: {hint}")
    original = [name for name in pictures if "/origin/" in f"/{name}"] or pictures
    return files.index(original, lambda name: name.rpartition("/")[2])


def _lines(
    files: LabelFiles, list_name: str, numbering: Numbering
) -> tuple[dict[tuple[str, int], tuple[_Box, float, int]], list[str]]:
    """{(picture, face id): (box, confidence, label)} in the list's order, and the lines that repeat another."""
    lines: dict[tuple[str, int], tuple[_Box, float, int]] = {}
    repeated = []
    for line_number, line in files.lines(list_name):
        where = f"line {line_number} of {list_name}"
        fields = line.rsplit(maxsplit=7)  # from the right, for names with a space
        face_id, number = decimal(fields[1]) if len(fields) == 8 else None, decimal(fields[-1])
        try:
            top, left, right, bottom, confidence = map(float, fields[2:7])
        except ValueError:
            face_id = None
        if face_id is None or number is None:
            files.malformed.append(
                f"{where} is {line.strip()[:80]!r}; expected name, face id, top, left, right, bottom, confidence, label"
            )
            continue
        if (expression := numbering.read(number)) is None:
            files.malformed.append(f"{where} has the label {number}; {numbering.expected}")
            continue
        key = fields[0].strip(), face_id
        entry = (left, top, right, bottom), confidence, LABELS.index(expression)
        if not (left < right and top < bottom and all(map(math.isfinite, entry[0]))):
            files.malformed.append(
                f"{where} has an empty box: left {left:g}, right {right:g}, top {top:g}, bottom {bottom:g}"
            )
        elif lines.setdefault(key, entry) is entry:
            continue
        elif lines[key] == entry:
            repeated.append(line.strip())
        else:
            files.malformed.append(f"{where} contradicts an earlier line on face {face_id} of {key[0]}")
    return lines, repeated


def _draw(faces_in: Counter[str], seed: int, shares: Sequence[float]) -> dict[str, str]:
    """{picture: split}: pictures in the order of a hash of seed and name, cut where each split has its share of faces.

    A hash, not a generator of random numbers: the same everywhere, for ever, and whatever the order of the lines.
    """
    order = sorted(faces_in, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    total = sum(faces_in.values())
    ends = [round(sum(shares[: i + 1]) * total) for i in range(len(SPLITS))]
    splits = {}
    done = current = 0
    for name in order:
        while done >= ends[current] and current < len(SPLITS) - 1:
            current += 1
        splits[name] = SPLITS[current]
        done += faces_in[name]
    return splits


def _per_class(counts: Sequence[int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in zip(LABELS.expressions, counts, strict=True))
