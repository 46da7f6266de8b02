"""SFEW 2.0: film stills, seven expressions by folder name.

As the EmotiW challenge ships it, zips unpacked: `Train/Train_Aligned_Faces/<Expression>/*.png` and
`Val/Val_Aligned_Faces_new/Val_Aligned_Faces/<Expression>/*.png` (143x181, folders nested or not), whole frames in
`Train/<Expression>/` and `Val/<Expression>/`, also seen as `Train/imgs/<Expression>/`. A file is called
`<film>_<milliseconds>_<number>.png`. There is no annotation file; the test set's labels were never published.

Literature reports on the official validation, so here that is `test`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from apvit.data.errors import DataError
from apvit.data.label_files import LabelFiles, is_picture, some, stem_of
from apvit.data.label_meanings import ask_for, stated_meanings, stated_protocol
from apvit.data.listing import Listed, Listing, Published
from apvit.data.sources import Source
from apvit.expressions import LABEL_SPACES
from apvit.files import counted

NAME = "sfew"
EXPECTED = (
    "SFEW 2.0: Train/ and Val/ with Train_Aligned_Faces/ and Val_Aligned_Faces/ or frames, in folders Angry to Surprise"
)
LABELS = LABEL_SPACES["sfew"]
FOLDERS = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "sad": "sadness",
    "surprise": "surprise",
}
PICTURES = ("aligned", "frames")
_SPLIT_FOLDER = re.compile(r"(train|val|test)(?:$|_)", re.IGNORECASE)
_SPLITS = {"train": "train", "val": "test"}
_FRAME_NAME = re.compile(r"(.+)_\d{9}_\d{8}")
_COUNTS = {
    # anger, disgust, fear, happiness, neutral, sadness, surprise
    ("aligned", "train"): (178, 52, 78, 184, 144, 161, 94),
    ("aligned", "test"): (77, 23, 46, 72, 84, 73, 56),
    ("frames", "train"): (178, 66, 98, 198, 150, 172, 96),
    ("frames", "test"): (77, 23, 47, 73, 86, 73, 57),
}


def recognises(source: Source) -> bool:
    """Whether there are pictures in folders called as SFEW's training or validation expressions."""
    return any(
        read[0] in _SPLITS and read[2] is not None and _FRAME_NAME.fullmatch(stem_of(name))
        for name in source.names
        if is_picture(name) and (read := _read_name(name, FOLDERS))
    )


def list_faces(source: Source, *, pictures: str = "aligned", labels: Mapping[Any, str] | None = None) -> Listing:
    """The faces of the official training and validation sets, the latter as `test`; films are groups.

    `pictures` "aligned" takes the official crops (891 and 431 faces), "frames" the whole stills (958 and 436), of
    which the official aligner missed some; a result names which. `labels` {folder: expression} states what folders mean
    that are called otherwise. Raises DataError where there are none of these.
    """
    if pictures not in PICTURES:
        raise DataError(f"SFEW's pictures are {' or '.join(PICTURES)}, not {pictures!r}")
    files = LabelFiles(source)
    stated = stated_meanings(labels, LABELS)
    meanings = FOLDERS | stated
    found = [(name, *read) for name in source.names if is_picture(name) and (read := _read_name(name, meanings))]
    unlabelled = [name for name, split, *_ in found if split not in _SPLITS]
    known = [(name, split, aligned, label) for name, split, aligned, label in found if split in _SPLITS]
    chosen = [
        (name, _SPLITS[split], aligned, label)
        for name, split, aligned, label in known
        if bool(aligned) == (pictures == "aligned")
    ]
    if not any(label for *_, label in chosen):
        numbers = sorted({folder for name, *_ in chosen if (folder := name.split("/")[-2]).isdecimal()})
        if numbers:
            raise DataError(f"SFEW's folders in {source.path} are called {', '.join(numbers)}, and {ask_for(numbers)}")
        other = PICTURES[1 - PICTURES.index(pictures)]
        raise DataError(
            f"{source.path} has none of SFEW's {pictures}"
            + (f" but {other}: choose pictures {other}" if any(k[3] for k in known) else f"; expected {EXPECTED}")
        )
    warnings = []
    if unlabelled:
        warnings.append(f"the test set's labels were never published; ignored are {some(unlabelled, 'picture')}")
    unknown = Counter(name.rpartition("/")[0] for name, _, _, label in chosen if label is None)
    for folder, count in unknown.items():
        files.malformed.append(
            f"{folder} with {counted(count, 'picture')} is called as no expression of SFEW (Angry to Surprise); state "
            f"what it means: `apvit data prepare --labels {folder.rpartition('/')[2]}=EXPRESSION`"
        )
    faces: dict[str, Listed] = {}
    replaced = []
    # "..._new" first: whoever downloaded both zips of the validation faces has most of them twice.
    for name, split, _, label in sorted(chosen, key=lambda entry: "_new" not in entry[2]):
        if label is None:
            continue
        file = name.rpartition("/")[2]
        identity = f"{'Train' if split == 'train' else 'Val'}/{label.capitalize()}/{file}"
        if identity in faces:
            replaced.append(name)
            continue
        film = _FRAME_NAME.fullmatch(stem_of(file))
        faces[identity] = Listed(
            split, identity, name, LABELS.index(meanings[label.lower()]), group=film[1] if film else None
        )
    if replaced:
        warnings.append(f"standing in two folders, used once, are {some(replaced, 'face')}")
    listed = sorted(faces.values(), key=lambda face: (face.split != "train", face.source))
    return Listing(
        dataset=NAME,
        description=f"SFEW 2.0, {pictures}",
        labels=LABELS,
        protocol=f"pictures={pictures} test=official validation{stated_protocol(stated)}",
        faces=listed,
        inputs={},
        published={split: _published(pictures, split) for split in ("train", "test")},
        malformed=files.malformed,
        warnings=warnings,
    )


def _read_name(name: str, meanings: Iterable[str]) -> tuple[str, str, str | None] | None:
    """`train`, `val` or `test`; the folder that says the faces are aligned, or ""; the expression's folder or None.

    None for a file that is in no folder of a split.
    """
    folders = name.split("/")[:-1]
    splits = [match[1].lower() for folder in folders if (match := _SPLIT_FOLDER.match(folder))]
    if not splits:
        return None
    aligned = "/".join(folder for folder in folders if "aligned" in folder.lower())
    expression = folders[-1] if folders[-1].lower() in meanings else None
    return splits[-1], aligned, expression


def _published(pictures: str, split: str) -> Published:
    totals = {kind: sum(_COUNTS[kind, split]) for kind in PICTURES}
    cause = f"aligned faces are {totals['aligned']} and frames {totals['frames']}; these may be the others"
    counts = dict(zip(LABELS.expressions, _COUNTS[pictures, split], strict=True))
    return Published(counts, cause, certain=pictures == "aligned")
