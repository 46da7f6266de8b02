"""A folder as a reader of the documentation has it: a clone, photographs, and datasets that are noise."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from tests.data import trees
from tests.docs.blocks import ROOT
from tests.recognition.clips import scene, write_clip

CLONE = ("Makefile", "configs", "examples", "benchmarks")
CROPS = {"astronaut": (145, 30, 315, 200), "grace_hopper": (130, 80, 400, 350)}
"""Squares around the faces of the photographs, x1, y1, x2, y2 in pixels."""
BOXES = {"astronaut": (40, 32, 126, 144), "grace_hopper": (46, 28, 227, 248)}
"""The faces in those squares."""
FERPLUS_FOLDERS = ("FER2013Train", "FER2013Valid", "FER2013Test")


def make_home(root: Path, photographs: dict[str, Path]) -> Path:
    """Fill `root`, without anything prepared, and return it."""
    photos = {name: Image.open(path).convert("RGB") for name, path in photographs.items()}
    photos["grace_hopper"].save(root / "photo.jpg", quality=95)
    _beside(photos["astronaut"], photos["grace_hopper"]).save(root / "group.jpg", quality=95)
    (root / "holiday" / "evening").mkdir(parents=True)
    photos["astronaut"].save(root / "holiday" / "collins.jpg", quality=95)
    photos["cat"].save(root / "holiday" / "cat.png")
    photos["grace_hopper"].save(root / "holiday" / "evening" / "hopper.jpg", quality=95)
    _class_folders(root / "faces", photos)

    write_clip(
        root / "clip.mp4", scene(photos["astronaut"], [(20 + 2 * i, 300) for i in range(20)], (480, 320)), rate=10
    )
    (root / "study" / "second").mkdir(parents=True)
    shutil.copy(root / "clip.mp4", root / "study")
    shutil.copy(root / "clip.mp4", root / "study" / "second")
    shutil.copy(root / "photo.jpg", root / "study")

    ferplus_tree(root / "FERPLUS")
    trees.raf_db(root / "RAF-DB", pictures=("aligned", "original", "aligned_224"))
    for name, path in _put_faces(sorted((root / "RAF-DB").glob("basic/Image/original/*.jpg")), photos):
        box = root / "RAF-DB" / "basic" / "Annotation" / "boundingbox" / f"{path.stem}_boundingbox.txt"
        box.write_text(" ".join(map(str, BOXES[name])) + "\n")
    trees.affectnet_a(root / "AFFECTNET")
    trees.sfew(root / "SFEW")
    frames = [path for folder in trees.SFEW_FOLDERS for path in (root / "SFEW").glob(f"*/{folder}/*.png")]
    _put_faces(sorted(frames), photos)
    trees.expw(root / "EXPW")
    for pictures in ("cropped_aligned", "cropped"):
        trees.aff_wild2(root / "AFF-WILD2", pictures=pictures, short_videos=20)
    boxes = [
        f"{split}{i}.png,{('happy', 'neutral')[i % 2]},{split},{split}{i},2,3,32,28"
        for split in ("train", "valid", "test")
        for i in range(4)
    ]
    table = trees.labels_csv(root / "PICTURES", boxes, header="path,label,split,group,x1,y1,x2,y2") / "labels.csv"
    shutil.copy(table, table.with_name("faces.csv"))

    for name in CLONE:
        (root / name).symlink_to(ROOT / name)
    for name in ("pyproject.toml", "constraints.txt"):  # copies, so that they are older than the stamps below
        shutil.copy2(ROOT / name, root / name)
    (root / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if not entry.name.startswith("."):
            (root / ".venv" / entry.name).symlink_to(entry)
    for stamp in (".made", ".demo", ".installed"):  # so that make finds everything installed, and installs nothing
        (root / ".venv" / stamp).touch()
    return root


def ferplus_tree(root: Path, each: int = 6) -> Path:
    """FER+ in its official layout: noise, and votes for each of the eight expressions `each` times per split."""
    number = 0
    for folder in FERPLUS_FOLDERS:
        (root / folder).mkdir(parents=True)
        lines = []
        for i in range(8 * each):
            votes = [0] * 10
            votes[i % 8], votes[(i + 1) % 8] = 8, 2
            name = f"fer{number:07d}.png"
            pixels = np.random.default_rng(number).integers(0, 256, (48, 48), np.uint8)
            Image.fromarray(pixels).save(root / folder / name)
            lines.append(f'{name},"(0, 0, 48, 48)",{",".join(map(str, votes))}\n')
            number += 1
        (root / folder / "label.csv").write_text("".join(lines))
    return root


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", (left.width + right.width, max(left.height, right.height)))
    canvas.paste(left, (0, 0))
    canvas.paste(right, (left.width, 0))
    return canvas


def _put_faces(paths: list[Path], photos: dict[str, Image.Image]) -> list[tuple[str, Path]]:
    """Real faces, of different brightness, in place of noise where MTCNN has to find some; which photograph each is."""
    placed = []
    for number, path in enumerate(paths):
        name = ("astronaut", "grace_hopper")[number % 2]
        light = 0.8 + 0.01 * number
        photos[name].crop(CROPS[name]).point(lambda value, light=light: round(value * light)).save(path)
        placed.append((name, path))
    return placed


def _class_folders(root: Path, photos: dict[str, Image.Image], each: int = 10) -> None:
    """<expression>/ with crops of both photographs, each a little elsewhere and of another brightness."""
    for number, expression in enumerate(("happiness", "neutral", "surprise")):
        (root / expression).mkdir(parents=True)
        for i in range(each):
            name = ("astronaut", "grace_hopper")[i % 2]
            x, y = (7 * i + 3 * number) % 19, (5 * i + 11 * number) % 17
            box = tuple(side + shift for side, shift in zip(CROPS[name], (x, y, x, y), strict=True))
            light = 0.8 + 0.04 * i + 0.013 * number
            crop = photos[name].crop(box).resize((160, 160)).point(lambda value, light=light: round(value * light))
            crop.save(root / expression / f"{i}.png")


def copy_home(template: Path, target: Path) -> Path:
    """A fresh copy for one page."""
    shutil.copytree(template, target, symlinks=True)
    return target
