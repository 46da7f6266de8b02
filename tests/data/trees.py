"""Tiny synthetic copies of the datasets, in exactly their owners' layouts. Pictures are noise, never faces.

Each builder writes below `root` and returns it. Pictures differ from one another; a builder's arguments vary the
layout, and tests edit the files afterwards for anything that is wrong.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

FORMATS = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "bmp": "BMP", "tif": "TIFF", "tiff": "TIFF"}


def write_picture(path: Path, *, width: int = 16, height: int = 16) -> None:
    """Noise that only the file's path decides, RGB, in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(zlib.crc32("/".join(path.parts[-4:]).encode())).integers(
        0, 256, (height, width, 3), np.uint8
    )
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, FORMATS[path.suffix[1:].lower()])
    path.write_bytes(buffer.getvalue())


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, newline="")


def write_zip(path: Path, folder: Path, prefix: str = "") -> Path:
    """Packs a tree, below a folder `prefix` of the zip."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


# RAF-DB

RAF_LABELS = {
    # 1 surprise, 2 fear, 3 disgust, 4 happiness, 5 sadness, 6 anger, 7 neutral
    **{f"train_{i:05d}": 1 + i % 7 for i in range(1, 15)},
    **{f"test_{i:04d}": 1 + i % 7 for i in range(1, 8)},
}


def raf_db(root: Path, *, pictures: Sequence[str] = ("aligned", "original"), annotations: bool = True) -> Path:
    """basic/ with the list, `pictures` in Image/, and the annotations of the whole pictures."""
    basic = root / "basic"
    write_text(basic / "EmoLabel" / "list_patition_label.txt", "".join(f"{s}.jpg {n}\n" for s, n in RAF_LABELS.items()))
    for number, stem in enumerate(RAF_LABELS):
        for folder in pictures:
            size = 48 if folder == "original" else 16
            name = f"{stem}_aligned.jpg" if folder == "aligned" else f"{stem}.jpg"
            write_picture(basic / "Image" / folder / name, width=size, height=size)
        if annotations:
            separator = "\t" if number % 2 else " "
            points = [(10 + number, 15), (30, 15.5), (20, 24), (12, 33), (28, 33)]
            lines = [f"{x}{separator}{y}" for x, y in points] + [str(number % 3), str(number % 3), str(number % 5)]
            write_text(basic / "Annotation" / "manual" / f"{stem}_manu_attri.txt", "\n".join(lines) + "\n")
            write_text(basic / "Annotation" / "auto" / f"{stem}_auto_attri.txt", "1.0\t2.0\n" * 37)
            write_text(
                basic / "Annotation" / "boundingbox" / f"{stem}_boundingbox.txt",
                f"4.5 5.0 {40 + number % 5}.25 44.0 \n",
            )
    return root


def raf_db_class_folders(
    root: Path, *, train: str = "train", test: str = "test", first: int = 1, tables: bool = True
) -> Path:
    """DATASET/{train,test}/{1..7}/ with train_labels.csv and test_labels.csv, as copied by others."""
    for split, folder in (("train", train), ("test", test)):
        stems = [stem for stem in RAF_LABELS if stem.startswith(split)]
        for stem in stems:
            write_picture(root / "DATASET" / folder / str(RAF_LABELS[stem] - 1 + first) / f"{stem}_aligned.jpg")
        if tables:
            lines = "".join(f"{stem}_aligned.jpg,{RAF_LABELS[stem]}\n" for stem in stems)
            write_text(root / f"{split}_labels.csv", f"image,label\n{lines}")
    return root


# AffectNet

AFFECTNET_HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
)
FIVE = (20.0, 22.0, 36.0, 22.5, 28.0, 30.0, 22.0, 38.0, 34.0, 38.0)
"""The five landmarks that `points68` is made around."""


def points68(x: float = 0.0, y: float = 0.0) -> list[float]:
    """68 points x, y in one list, whose eyes, nose and mouth corners are `FIVE` moved by (x, y)."""
    points = np.full((68, 2), 5.0)
    five = np.reshape(FIVE, (5, 2))
    ring = np.array([(-2, 0), (-1, -1), (1, -1), (2, 0), (1, 1), (-1, 1)])
    points[36:42], points[42:48] = five[0] + ring, five[1] + ring
    points[30], points[48], points[54] = five[2:]
    return (points + np.array((x, y))).ravel().tolist()


def affectnet_row(
    picture: str, expression: int, *, box: Sequence[object] = (8, 9, 40, 39), quoted: bool = False
) -> str:
    landmarks = ";".join(f"{value:g}" for value in points68())
    landmarks = f'"{landmarks}"' if quoted else landmarks
    affect = "-2,-2" if expression > 8 else "0.785714,-0.055556"
    return f"{picture},{','.join(map(str, box))},{landmarks},{expression},{affect}\n"


SUFFIXES = ("jpg", "JPG", "png", "bmp", "tiff")
AFFECTNET_A = {
    "training": [(f"{1 + i % 3}/{i:056x}.{SUFFIXES[i % 5]}", i % 11) for i in range(22)],
    "validation": [(f"{4 + i % 2}/{i + 100:056x}.jpg", i % 11) for i in range(11)],
}


def affectnet_a(root: Path, *, header_in_validation: bool = True, quoted: bool = False) -> Path:
    """Release A: every expression and non-expression twice in training and once in validation."""
    for table, rows in AFFECTNET_A.items():
        text = "".join(affectnet_row(picture, expression, quoted=quoted) for picture, expression in rows)
        if header_in_validation or table == "training":
            text = f"{AFFECTNET_HEADER}\n{text}"
        write_text(root / "Manually_Annotated_file_lists" / f"{table}.csv", text)
        for picture, _ in rows:
            write_picture(root / "Manually_Annotated" / "Manually_Annotated_Images" / picture, width=56, height=52)
    write_text(
        root / "Automatically_Annotated_file_lists" / "automatically_annotated.csv",
        f"{AFFECTNET_HEADER}\n{affectnet_row('1/auto.jpg', 1)}",
    )
    return root


def affectnet_b(root: Path, *, valid: str = "val_set", as_text: bool = True) -> Path:
    """Release B: every expression twice in train_set and once in val_set; labels as 0-d strings or numbers."""
    for folder, identities in (("train_set", range(16)), (valid, range(20, 28))):
        annotations = root / folder / "annotations"
        annotations.mkdir(parents=True)
        for identity in identities:
            write_picture(root / folder / "images" / f"{identity}.jpg", width=56, height=56)
            label = (identity - (20 if folder == valid else 0)) % 8
            np.save(annotations / f"{identity}_exp.npy", np.array(str(label)) if as_text else np.int64(label))
            np.save(annotations / f"{identity}_val.npy", np.array("0.5") if as_text else np.float64(0.5))
            np.save(annotations / f"{identity}_aro.npy", np.array("0.1") if as_text else np.float64(0.1))
            np.save(annotations / f"{identity}_lnd.npy", np.array(points68(identity)))
    return root


def affectnet_text(root: Path, *, classes: int = 7) -> Path:
    """The copies with {train,valid}_annotations_7class.txt instead of .npy."""
    for folder, split, count in (("train_set", "train", 2 * classes), ("valid_set", "valid", classes)):
        for identity in range(count):
            write_picture(root / folder / "images" / f"{split}{identity}.jpg")
        lines = "".join(f"{split}{identity}.jpg {identity % classes}\n" for identity in range(count))
        write_text(root / folder / f"{split}_annotations_{classes}class.txt", lines)
    return root


# SFEW

SFEW_FOLDERS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
FILMS = {
    "Train": ("Airheads", "Bridesmaids_2", "Chloe", "Descent", "Evita", "Fargo", "Gravity", "Hook", "Iris"),
    "Val": ("Juno", "Klute"),
}


def sfew(
    root: Path,
    *,
    aligned: bool = True,
    frames: bool = True,
    train: str = "Train/Train_Aligned_Faces",
    val: str = "Val/Val_Aligned_Faces_new/Val_Aligned_Faces",
    train_frames: str = "Train",
    val_frames: str = "Val",
) -> Path:
    """Four stills of each expression in Train, two in Val, and unlabelled ones in Test."""
    for split, aligned_folder, frame_folder, count in (("Train", train, train_frames, 4), ("Val", val, val_frames, 2)):
        for label, folder in enumerate(SFEW_FOLDERS):
            for i in range(count):
                film = FILMS[split][(count * label + i) % len(FILMS[split])]
                name = f"{film}_{1000 * label + i:09d}_{i:08d}.png"
                if aligned:
                    write_picture(root / aligned_folder / folder / name, width=14, height=18)
                if frames:
                    write_picture(root / frame_folder / folder / name, width=36, height=28)
    if aligned:
        write_picture(root / "Test" / "Test_Aligned_Faces" / "Labyrinth_000000001_00000001.png")
    return root


# ExpW

EXPW_LINES = [
    # name, face id, top, left, right, bottom, confidence, label
    "angry_actor_104.jpg 0 2 11 23 14 22.9362 0",
    "angry_actor_113.jpg 0 1 2 13 14 59.93 6",
    "angry_actor_113.jpg 1 10 20 34 26 14.3 3",
    "angry_actor_113.jpg 2 3 14 18 8 60 0",
    *(f"happy_woman_{i}.jpg 0 1 3 20 {15 + i % 5} {10 + i} {i % 7}" for i in range(60)),
]


def expw(root: Path, *, prefix: str = "data/", lines: Iterable[str] = EXPW_LINES) -> Path:
    """64 faces in 62 pictures of 40x30."""
    lines = list(lines)
    write_text(root / f"{prefix}label" / "label.lst", "".join(f"{line}\n" for line in lines))
    for name in dict.fromkeys(line.rsplit(maxsplit=7)[0] for line in lines):
        write_picture(root / f"{prefix}image" / "origin" / name, width=40, height=30)
    return root


# Aff-Wild2

AFF_WILD2_HEADER = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
AFF_WILD2 = {
    # Training videos; the labels of frames 1, 2, 3 and so on
    ("Train_Set", "1-30-1280x720"): [0, 1, 2, 3, 4, 5, 6, 7, -1, 0, 1, 2],
    ("Train_Set", "video10_1_left"): [4, 4, 4, 5, 5],
    ("Train_Set", "video10_1_right"): [0, -1, 0, 0, 7],
    ("Validation_Set", "5-60-1920x1080-2"): [0, 1, 2, 3, 4, 5, 6, 7],
}
AFF_WILD2_WITHOUT_PICTURE = {("1-30-1280x720", 2), ("5-60-1920x1080-2", 8), ("video10_1_left", 5)}
"""Frames where no face was found."""


def aff_wild2(
    root: Path,
    *,
    annotations: str = "Third ABAW Annotations/EXPR_Classification_Challenge",
    header: str = AFF_WILD2_HEADER,
    pictures: str = "cropped_aligned",
    new_videos: Sequence[str] = ("5-60-1920x1080-2",),
    short_videos: int = 0,
) -> Path:
    """Four annotation files and their frames, `new_videos` in the folder that was added later.

    `short_videos` more of four frames, for training: enough groups to carve a valid split from.
    """
    old_edition = "Other" not in header
    more = {("Train_Set", f"short{i}"): [i % 7, i % 7, i % 7, -1] for i in range(short_videos)}
    for (folder, video), labels in (AFF_WILD2 | more).items():
        known = [label for label in labels if not (old_edition and label == 7)]
        write_text(root / annotations / folder / f"{video}.txt", "\n".join([header, *map(str, known)]) + "\n")
        parent = f"{pictures}_new_50_vids" if video in new_videos else pictures
        for frame in range(1, len(known) + 1):
            if (video, frame) not in AFF_WILD2_WITHOUT_PICTURE:
                write_picture(root / parent / video / f"{frame:05d}.jpg")
    return root


# Anyone's own pictures

FOLDER_CLASSES = ("happy", "Sad", "neutral", "angry")


def class_folders(root: Path, *, splits: Sequence[str] = ("train", "val", "test"), each: int = 3) -> Path:
    """<split>/<expression>/ with a few pictures each; no split folder for a split called ""."""
    for split in splits:
        for folder in FOLDER_CLASSES:
            for i in range(each):
                write_picture(root / split / folder / f"{i}.png")
    return root


def renumber(root: Path, pattern: str, numbers: Mapping[int, int]) -> Path:
    """Gives every number that `pattern` captures, in each text or path, the one that `numbers` has for it."""

    def one(match: re.Match[str]) -> str:
        start, end = (place - match.start() for place in match.span(1))
        return match[0][:start] + str(numbers.get(int(match[1]), match[1])) + match[0][end:]

    def replaced(text: str) -> str:
        return re.sub(pattern, one, text, flags=re.MULTILINE)

    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        if path.suffix in (".txt", ".csv", ".lst"):
            path.write_text(replaced(path.read_text()))
        elif path.suffix == ".npy" and path.stem.endswith("_exp"):
            np.save(path, np.array(replaced(str(np.load(path)))))
        else:
            moved = root / replaced(path.relative_to(root).as_posix())
            moved.parent.mkdir(parents=True, exist_ok=True)
            path.rename(moved)
    return root


def sequences(root: Path, names: Iterable[str]) -> Path:
    """Pictures of which those are nearly equal whose names differ in the last number only: frames of a sequence."""
    for name in names:
        seed = zlib.crc32(re.sub(r"\d+(?=\D*$)", "", name).encode())
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 6), np.uint8)
        whole = np.asarray(Image.fromarray(coarse).resize((48, 48), Image.Resampling.BICUBIC), np.int64)
        noise = np.random.default_rng(zlib.crc32(name.encode())).integers(-2, 3, whole.shape)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(whole + noise, 0, 255).astype(np.uint8)).save(root / name)
    return root


def ck(root: Path, name: str = "{expression}/S{subject:03d}_{sequence:03d}_{frame:08d}.png") -> Path:
    """CK+48: three frames of each of two sequences of twelve subjects, in folders of their expressions."""
    expressions = ("anger", "disgust", "fear", "happy", "sadness", "surprise")
    return sequences(
        root,
        (
            name.format(expression=expressions[(s + q) % 6], subject=s, sequence=q, frame=9 + f)
            for s in range(1, 13) for q in (1, 2) for f in range(3)
        ),
    )  # fmt: skip


def labels_csv(root: Path, lines: Sequence[str], *, header: str = "path,label") -> Path:
    """labels.csv and the pictures, 40x30, that its lines name."""
    write_text(root / "labels.csv", "\n".join([header, *lines]) + "\n")
    for name in dict.fromkeys(line.split(",")[0] for line in lines):
        if name.rpartition(".")[2].lower() in FORMATS:
            write_picture(root / name, width=40, height=30)
    return root
