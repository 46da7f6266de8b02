"""Datasets: each owner's layout to prepared Parquet splits, and their verification.

A prepared dataset is a folder with `train.parquet`, `valid.parquet` and `test.parquet`, those that exist.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apvit.data import ferplus
from apvit.data.errors import DataError
from apvit.data.store import FaceRow, Split, SplitMetadata, read_split, write_split
from apvit.data.votes import protocol_labels, protocol_targets, target_distribution

__all__ = ["DataError", "FaceRow", "Split", "SplitMetadata", "prepare", "protocol_labels", "protocol_targets",
           "read_split", "target_distribution", "write_split"]

LOADERS: dict[str, Callable[..., ferplus.Prepared]] = {"ferplus": ferplus.load}


def prepare(name: str, src: str | Path, out: str | Path, **options: Any) -> ferplus.Prepared:
    if name not in LOADERS:
        raise DataError(f"unknown dataset {name!r}; known are {', '.join(LOADERS)}")
    prepared = LOADERS[name](src, **options)
    for split, (rows, metadata) in prepared.splits.items():
        write_split(Path(out) / f"{split}.parquet", rows, metadata)
    return prepared
