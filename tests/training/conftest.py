"""The synthetic datasets of `bars`, written once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.training.bars import write_bars


@pytest.fixture(scope="session")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared dataset of 96 training and 40 validation faces, 48 px grey with votes."""
    folder = tmp_path_factory.mktemp("bars")
    write_bars(folder, "train", 96, 0)
    write_bars(folder, "valid", 40, 1)
    return folder


@pytest.fixture(scope="session")
def tested_bars(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a test split of 30 faces."""
    folder = tmp_path_factory.mktemp("tested")
    for split in ("train", "valid"):
        (folder / f"{split}.parquet").symlink_to(bars / f"{split}.parquet")
    write_bars(folder, "test", 30, 2)
    return folder


@pytest.fixture(scope="session")
def large_bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces larger than the network reads, in colour, without votes: 64 and 20 of 70 px."""
    folder = tmp_path_factory.mktemp("large")
    write_bars(folder, "train", 64, 0, size=70, colour=True, votes=False)
    write_bars(folder, "valid", 20, 1, size=70, colour=True, votes=False)
    return folder
