"""FER+ in both official forms, tiny and synthetic."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apvit.data import Split, prepare, read_split

USAGES = {"FER2013Train": "Training", "FER2013Valid": "PublicTest", "FER2013Test": "PrivateTest"}
VOTE_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"

Faces = dict[str, list[tuple[str, tuple[int, ...], int]]]
"""Per official folder: image name, votes, and the seed of the picture."""


def face(seed: int, size: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size), np.uint8)


def png(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def label_csv(rows: list[tuple[str, tuple[int, ...], int]]) -> str:
    lines = (f'{name},"(0, 0, 48, 48)",{",".join(map(str, votes))}\n' for name, votes, _ in rows)
    return "".join(lines)


FACES: Faces = {
    "FER2013Train": [
        ("fer0000000.png", (9, 0, 0, 0, 0, 0, 0, 0, 1, 0), 0),  # neutral
        ("fer0000002.png", (0, 8, 2, 0, 0, 0, 0, 0, 0, 0), 1),  # happiness; stands in validation too
        ("fer0000003.png", (5, 0, 0, 5, 0, 0, 0, 0, 0, 0), 2),  # a tie: no label
        ("fer0000004.png", (0, 0, 0, 0, 0, 0, 0, 0, 0, 10), 3),  # no face: no label
        ("fer0000005.png", (0, 0, 0, 7, 3, 0, 0, 0, 0, 0), 4),  # sadness; stands in test too
        ("fer0000006.png", (0, 0, 0, 0, 9, 1, 0, 0, 0, 0), 5),  # anger
    ],
    "FER2013Valid": [
        ("fer0028709.png", (0, 0, 9, 0, 0, 0, 1, 0, 0, 0), 1),  # surprise
        ("fer0028710.png", (2, 2, 2, 2, 2, 0, 0, 0, 0, 0), 6),  # no label
    ],
    "FER2013Test": [("fer0032298.png", (0, 0, 0, 0, 0, 0, 0, 10, 0, 0), 4)],  # contempt
}


@dataclass(frozen=True)
class Loaded:
    splits: dict[str, Split]
    warnings: list[str]


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Loaded]:
    """Prepares a dataset and reads what was written."""

    def load(src: Path, name: str = "ferplus", **options: object) -> Loaded:
        out = tmp_path_factory.mktemp("prepared")
        prepared = prepare(name, src, out, **options)
        return Loaded({split: read_split(out / f"{split}.parquet") for split in prepared.splits}, prepared.warnings)

    return load


@pytest.fixture
def faces() -> Faces:
    """A copy to change: six training, two validation and one test face, with one leak of each kind."""
    return {folder: list(rows) for folder, rows in FACES.items()}


@pytest.fixture
def write_folders() -> Callable[[Path, Faces], Path]:
    """Writes form (a): folders of PNG and label.csv."""

    def write(root: Path, faces: Faces) -> Path:
        for folder, rows in faces.items():
            (root / folder).mkdir(parents=True)
            (root / folder / "label.csv").write_text(label_csv(rows))
            for name, _, seed in rows:
                (root / folder / name).write_bytes(png(face(seed)))
        return root

    return write


@pytest.fixture
def write_tables() -> Callable[..., Path]:
    """Writes form (b): FER2013's pixels and FERPlus's votes, in one order."""

    def write(root: Path, faces: Faces, *, kaggle: bool = False, labels: bool = False) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        pixels, votes = [], [VOTE_HEADER]
        for folder, rows in faces.items():
            for name, row, seed in rows:
                text = " ".join(map(str, face(seed).ravel()))
                pixels.append([0, USAGES[folder], text] if kaggle else [0, text, USAGES[folder]])
                votes.append(f"{USAGES[folder]},{name},{','.join(map(str, row))}")
            if labels:
                (root / "data" / folder).mkdir(parents=True)
                (root / "data" / folder / "label.csv").write_text(label_csv([row for row in rows if row[0]]))
        (root / "fer2013new.csv").write_text("\r\n".join(votes) + "\r\n")
        with (root / ("icml_face_data.csv" if kaggle else "fer2013.csv")).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["emotion", " Usage", " pixels"] if kaggle else ["emotion", "pixels", "Usage"])
            writer.writerows(pixels)
        return root

    return write


@pytest.fixture
def write_zip() -> Callable[[Path, Path], Path]:
    """Packs a folder."""

    def write(path: Path, folder: Path, prefix: str = "") -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    archive.write(file, prefix + file.relative_to(folder).as_posix())
        return path

    return write


@pytest.fixture(scope="session")
def ferplus_zip(shared: Path) -> Path:
    """The real train and validation splits."""
    return shared / "data" / "ferplus_train_valid.zip"
