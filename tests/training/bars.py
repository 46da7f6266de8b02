"""Synthetic datasets that can be learnt in seconds: each class has bars of its own direction."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from apvit.data import FaceRow, SplitMetadata, write_split
from apvit.data.augmentation import Augmentation
from apvit.data.votes import VOTE_NAMES
from apvit.expressions import get_label_space
from apvit.training import Recipe

SMALL = {
    "stem_width": 8,
    "stem_stages": ((12, 1), (16, 1)),
    "dim": 32,
    "depth": 2,
    "num_heads": 2,
    "token_keep": (1, 0.9),
}


def _face(label: int, size: int, colour: bool, random: np.random.Generator) -> bytes:
    face = random.integers(0, 100, (48, 48), np.uint8)
    bar = np.arange(48) // 4 % 2 == 1
    level, upright = bar[:, None].repeat(48, 1), bar[None].repeat(48, 0)
    face[(level, upright, level ^ upright)[label]] += 120
    picture = Image.fromarray(face).resize((size, size))
    buffer = io.BytesIO()
    (picture.convert("RGB") if colour else picture).save(buffer, "PNG")
    return buffer.getvalue()


def write_bars(
    path: Path, split: str, count: int, seed: int, *, size: int = 48, colour: bool = False, votes: bool = True
) -> None:
    """A prepared split of `count` faces, every tenth of which has no label."""
    random = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        label = int(random.integers(0, 3))
        counts = tuple(8 if k == label else 2 if k == 3 else 0 for k in range(len(VOTE_NAMES))) if votes else None
        image = _face(label, size, colour, random)
        rows.append(FaceRow(image, f"{seed}-{i}.png", label if i % 10 else None, f"{seed}-{i}", counts))
    metadata = SplitMetadata(
        dataset="ferplus",
        split=split,
        labels=get_label_space("ferplus"),
        protocol="majority",
        vote_names=VOTE_NAMES if votes else None,
        alignment="ferplus-48-v1",
    )
    write_split(path / f"{split}.parquet", rows, metadata)


def small_recipe(data: Path, output: Path, **fields) -> Recipe:
    """A recipe that a test can afford: a second an epoch."""
    defaults = {
        "model": SMALL,
        "epochs": 2,
        "batch_size": 16,
        "augmentation": Augmentation(flip=0.5, rotate=2, erase=0.1),
        "average_decay": 0.5,
        "learning_rate": 3e-3,
        "device": "cpu",
    }
    return Recipe(data=str(data), output=str(output), **{**defaults, **fields})
