"""A synthetic dataset that can be learnt: each class is a bright bar at its own height."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apvit.data import FaceRow, SplitMetadata, write_split
from apvit.data.votes import VOTE_NAMES
from apvit.expressions import get_label_space


def _rows(count: int, seed: int) -> list[FaceRow]:
    random = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        label = int(random.integers(0, 3))
        face = random.integers(0, 100, (48, 48), np.uint8)
        face[4 + 14 * label : 12 + 14 * label] += 120
        buffer = io.BytesIO()
        Image.fromarray(face).save(buffer, "PNG")
        votes = tuple(8 if k == label else 2 if k == 3 else 0 for k in range(len(VOTE_NAMES)))
        rows.append(FaceRow(buffer.getvalue(), f"{seed}-{i}.png", label if i % 10 else None, f"{seed}-{i}", votes))
    return rows


@pytest.fixture(scope="session")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared dataset of 96 training and 40 validation faces."""
    folder = tmp_path_factory.mktemp("bars")
    for split, count, seed in (("train", 96, 0), ("valid", 40, 1)):
        metadata = SplitMetadata(
            dataset="ferplus",
            split=split,
            labels=get_label_space("ferplus"),
            protocol="majority",
            vote_names=VOTE_NAMES,
            alignment="ferplus-48-v1",
        )
        write_split(folder / f"{split}.parquet", _rows(count, seed), metadata)
    return folder
