"""Aff-Wild2, the expression track: frames of videos, eight classes, one label per frame.

As the ABAW challenges ship it: `cropped_aligned/<video>/00001.jpg` (112x112, frames counted from 1; part of them in
`cropped_aligned_new_50_vids/`) and `EXPR_Classification_Challenge/Train_Set/<video>.txt` with `Validation_Set/`
(ABAW3 to 5; `EXPR_Recognition_Challenge` later, `EXPR_Set/Training_Set` in the first two editions). A text has the
class names in its first line and then one label per frame; -1 is a frame that nobody labelled. Where no face was
found there is no picture. `<video>_left` and `<video>_right` are two people of one video.

The test labels were never published. Literature reports on the official validation, so here that is `test`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from apvit.data.errors import DataError
from apvit.data.label_files import LabelFiles, decimal, some
from apvit.data.label_meanings import Numbering, written_labels
from apvit.data.listing import Listed, Listing, Published
from apvit.data.sources import Source
from apvit.expressions import LABEL_SPACES, LabelSpace

NAME = "aff-wild2"
EXPECTED = (
    "Aff-Wild2: EXPR_Classification_Challenge/ (or EXPR_Recognition_Challenge/) with Train_Set/ and Validation_Set/, "
    "and cropped_aligned/ with a folder per video"
)
PICTURES = ("cropped_aligned", "cropped")
_EIGHT = LABEL_SPACES["aff-wild2"]
LABELS = {8: _EIGHT, 7: LabelSpace("aff-wild2-7", _EIGHT.expressions[:7])}
_ANNOTATION = re.compile(
    r"(?P<folder>(?:.*/)?EXPR_(?:Classification_Challenge|Recognition_Challenge|Set))/"
    r"(?P<set>Train|Training|Validation)_Set/(?P<video>[^/]+)\.txt"
)
_SPLITS = {"Train": "train", "Training": "train", "Validation": "test"}
_SUBJECT = re.compile(r"_(?:left|right)$")
_LABELLED = {"train": 597_361, "test": 284_230}
"""Frames with a label of 0 to 7, with a picture or without, counted by others on the files of ABAW3."""
_WITH_PICTURE = {
    "cropped_aligned": {"train": 586_959},
    "cropped": {"train": 585_317, "test": 280_532},
}
"""Those of them that have one."""


def recognises(source: Source) -> bool:
    """Whether the expression track's annotations are there."""
    return any(_ANNOTATION.fullmatch(name) for name in source.names)


def list_faces(
    source: Source,
    *,
    classes: int = 8,
    pictures: str = "cropped_aligned",
    every: int = 1,
    labels: Mapping[Any, str] | None = None,
) -> Listing:
    """The labelled frames that have a picture; the group is the video, without `_left` and `_right`.

    `classes` 7 leaves out "other", and is needed for the first two editions, which had none. `pictures` is the folder
    to take frames from, with its `_new_50_vids`. `every` N takes training frames 1, 1 + N, 1 + 2N and so on, for
    neighbours are nearly equal; the test split keeps all. `labels` {number: expression} states what the numbers mean,
    whatever the header says.

    Raises DataError where this is not Aff-Wild2, has several editions or no pictures, or an option is not possible.
    """
    if classes not in LABELS:
        raise DataError(f"Aff-Wild2 is read with classes 7 or 8, not {classes}")
    if pictures not in PICTURES:
        raise DataError(f"Aff-Wild2's pictures are {' or '.join(PICTURES)}, not {pictures!r}")
    if every < 1:
        raise DataError(f"every is 1 for all frames or N for each Nth, not {every}")
    names = source.names
    annotations = [
        match for name in names if (match := _ANNOTATION.fullmatch(name)) and not name.startswith("__MACOSX/")
    ]
    editions = sorted({match["folder"] for match in annotations})
    if not editions:
        raise DataError(f"{source.path} is not Aff-Wild2; expected {EXPECTED}")
    if len(editions) > 1:
        raise DataError(f"{source.path} has annotations of several editions ({', '.join(editions)}): give one of them")
    folders = _video_folders(names, pictures)
    if not folders:
        raise DataError(f"{source.path} has annotations but no frames in {pictures}/<video>/: unpack {pictures}.zip")
    files = LabelFiles(source)
    present = set(names)
    space = LABELS[classes]
    numbering = Numbering("Aff-Wild2", _EIGHT, labels)
    faces: list[Listed] = []
    left_out: Counter[str] = Counter()
    labelled: Counter[str] = Counter()
    absent: list[str] = []
    for match in annotations:
        video, split = match["video"], _SPLITS[match["set"]]
        if video not in folders:
            absent.append(video)
        group = _SUBJECT.sub("", video)
        step = every if split == "train" else 1
        for frame, expression in _frame_labels(files, match[0], classes, numbering):
            if expression is None:
                left_out["not labelled"] += 1
                continue
            labelled[split] += 1
            file = f"{frame:05d}.jpg"
            if expression not in space.expressions:
                left_out["other"] += 1
            elif (picture := _picture(folders[video], file, present)) is None:
                left_out["without a picture"] += 1
            elif (frame - 1) % step:
                left_out[f"skipped by every={every}"] += 1
            else:
                faces.append(Listed(split, f"{video}/{file}", picture, space.index(expression), group=group))
    numbering.check(source.path)
    warnings = _warnings(absent, len(annotations), left_out, labelled, pictures)
    return Listing(
        dataset=NAME,
        description=f"expression track, {editions[0].rpartition('/')[2]}, {pictures}, {len(annotations)} videos",
        labels=space,
        protocol=f"classes={classes} pictures={pictures} every={every} test=official validation{numbering.protocol}",
        faces=faces,
        inputs=files.inputs,
        published={
            split: Published({}, "another edition of the annotations, or videos that are not unpacked", labelled=count)
            for split, count in _WITH_PICTURE[pictures].items()
            if classes == 8 and every == 1
        },
        malformed=files.malformed,
        warnings=warnings,
    )


def _video_folders(names: list[str], pictures: str) -> defaultdict[str, list[str]]:
    """{video: its folders} in `pictures`/ and `pictures`_new_50_vids/."""
    roots = {pictures, f"{pictures}_new_50_vids"}
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for folder in dict.fromkeys(name.rpartition("/")[0] for name in names if name.endswith(".jpg")):
        parent, _, video = folder.rpartition("/")
        if parent.rpartition("/")[2] in roots and not folder.startswith("__MACOSX/"):
            folders[video].append(folder)
    return folders


def _picture(folders: list[str], file: str, present: set[str]) -> str | None:
    return next((name for folder in folders if (name := f"{folder}/{file}") in present), None)


def _frame_labels(files: LabelFiles, name: str, classes: int, numbering: Numbering) -> list[tuple[int, str | None]]:
    """The frame, counted from 1, and expression of each line after the header; None for -1, which nobody labelled.

    DataError for an edition without "other" where eight classes are wanted.
    """
    data = files.read(name, one_of="EXPR/*.txt")
    if data is None:
        return []
    # Blank lines count: line k is frame k.
    lines = data.decode("utf-8-sig", errors="replace").splitlines()
    header = [title.strip().lower() for title in lines[0].split(",")] if lines else []
    if header == list(LABELS[7].expressions) and classes == 8:
        raise DataError(
            f"{name} is of an edition with seven classes (no other): choose classes 7, or give annotations of ABAW3 "
            "or later"
        )
    expected = [list(space.expressions) for space in LABELS.values()]
    if header not in expected and not (numbering.stated and header and header[0][:1].isalpha()):
        whole = ",".join(title.capitalize() for title in _EIGHT.expressions)
        hint = ""
        if sorted(header) in map(sorted, expected):
            stated = written_labels(dict(enumerate(header)))
            hint = f"; if that is its order, run `apvit data prepare --labels {stated}`"
        files.malformed.append(f"{name} begins with {','.join(header)[:80]!r}; expected {whole}{hint}")
        return []
    while lines and not lines[-1].strip():
        lines.pop()
    found: list[tuple[int, str | None]] = []
    wrong = []
    for frame, line in enumerate(lines[1:], 1):
        number = decimal(line.strip())
        expression = None if number is None or number == -1 else numbering.read(number)
        beyond = number is not None and number >= len(header) and not numbering.stated
        if (expression is None and number != -1) or beyond:
            wrong.append(f"line {frame + 1}, {line.strip()[:40]!r}")
        else:
            found.append((frame, expression))
    if wrong:
        known = "-1 and those stated" if numbering.stated else f"-1 to {len(header) - 1}"
        files.malformed.append(f"{name} has labels other than {known}: {some(wrong, 'line')}")
    return found


def _warnings(
    absent: list[str], videos: int, left_out: Counter[str], labelled: Counter[str], pictures: str
) -> list[str]:
    warnings = []
    if absent:
        warnings.append(
            f"of {videos} annotated videos have no folder of frames: {some(absent, 'video')}; unpack "
            f"{pictures}_new_50_vids.zip too"
        )
    if left_out:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items()))
        warnings.append(f"frames left out: {counts}")
    for split, count in sorted(labelled.items(), reverse=True):
        if count != _LABELLED[split]:
            warnings.append(
                f"{split} has {count:,} labelled frames, published are {_LABELLED[split]:,} for ABAW3: this is another "
                "edition, or videos are missing"
            )
    return warnings
