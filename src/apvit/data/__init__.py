"""Datasets: from each owner's layout to prepared Parquet splits, and their verification.

A prepared dataset is a folder with `train.parquet`, `valid.parquet` and `test.parquet`, those that exist.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apvit.data import ferplus
from apvit.data.errors import DataError
from apvit.data.ferplus_layouts import EXPECTED as FERPLUS_EXPECTED
from apvit.data.ferplus_layouts import is_ferplus
from apvit.data.rows import SPLITS, FaceRow, Prepared, SplitMetadata
from apvit.data.sources import Source
from apvit.data.store import Split, read_split, write_split
from apvit.data.verify import Finding, Report, verify_ferplus
from apvit.data.votes import PROTOCOLS, protocol_labels, protocol_targets, target_distribution

__all__ = [
    "PROTOCOLS",
    "SPLITS",
    "DataError",
    "FaceRow",
    "Finding",
    "Prepared",
    "Report",
    "Split",
    "SplitMetadata",
    "list_datasets",
    "open_split",
    "prepare",
    "protocol_labels",
    "protocol_targets",
    "read_split",
    "target_distribution",
    "verify",
    "write_split",
]


@dataclass(frozen=True)
class _Dataset:
    load: Callable[..., Prepared]
    verify: Callable[..., Report]
    recognises: Callable[[Source], bool]
    expected: str


_DATASETS = {ferplus.NAME: _Dataset(ferplus.load, verify_ferplus, is_ferplus, FERPLUS_EXPECTED)}


def list_datasets() -> list[str]:
    """The names that `prepare` and `verify` know."""
    return list(_DATASETS)


def prepare(name: str, src: str | Path, out: str | Path, **options: Any) -> Prepared:
    """Read dataset `name` at `src` and write `out`/train.parquet, valid.parquet and test.parquet, those that exist.

    The options are those of the dataset's loader (`ferplus.load`). Nothing is renamed into `out` before all splits
    are written, so an interrupted run leaves what was there. Returns what was written, with the warnings.

    Raises DataError for an unknown name, what the loader refuses, and where the disk refuses.
    """
    prepared = _dataset(name).load(src, **options)
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".prepare-", dir=out) as folder:
            for split, (rows, metadata) in prepared.splits.items():
                write_split(Path(folder, f"{split}.parquet"), rows, metadata)
            for split in prepared.splits:
                os.replace(Path(folder, f"{split}.parquet"), out / f"{split}.parquet")
    except OSError as error:
        raise DataError(f"cannot write to {out}: {error.strerror or error}") from error
    stale = [split for split in SPLITS if split not in prepared.splits and (out / f"{split}.parquet").exists()]
    warnings = [f"{out / f'{split}.parquet'} is from an earlier run: {src} has no {split} split" for split in stale]
    return Prepared(prepared.splits, prepared.warnings + warnings)


def verify(name: str, src: str | Path, **options: Any) -> Report:
    """Check dataset `name` at `src`; the report says what is wrong. DataError where it is not that dataset at all."""
    return _dataset(name).verify(src, **options)


def open_split(data: str | Path, split: str | None = None) -> Split:
    """One split of `data`: a prepared Parquet file, a folder of them, or anything that `prepare` understands.

    A dataset in its owner's layout is prepared in memory with the default options; what `prepare` would warn of is
    logged. `split` defaults to the file's own, or else to `valid`. Raises DataError where there is no such split.
    """
    path = Path(data)
    if split is not None and split not in SPLITS:
        raise DataError(f"unknown split {split!r}; known are {', '.join(SPLITS)}")
    if path.suffix == ".parquet":
        opened = read_split(path)
        if split not in (None, opened.metadata.split):
            raise DataError(f"{path} is the split {opened.metadata.split}, not {split}")
        return opened
    split = split or "valid"
    prepared = [name for name in SPLITS if (path / f"{name}.parquet").is_file()]
    if split in prepared:
        return read_split(path / f"{split}.parquet")
    if prepared:
        raise DataError(f"{path} has no split {split!r}; it has {', '.join(prepared)}")
    name = _recognise(path)
    loaded = _dataset(name).load(path, only=split)
    for warning in loaded.warnings:
        logging.getLogger(__name__).warning("%s: %s", path, warning)
    return Split.from_rows(*loaded.splits[split])


def _dataset(name: str) -> _Dataset:
    if name not in _DATASETS:
        raise DataError(f"unknown dataset {name!r}; known are {', '.join(_DATASETS)}")
    return _DATASETS[name]


def _recognise(path: Path) -> str:
    """The name of the dataset in its owner's layout at `path`."""
    layouts = "; ".join(f"{name}: {dataset.expected}" for name, dataset in _DATASETS.items())
    expected = f"a Parquet file written by `apvit data prepare`, a folder of them, or a dataset ({layouts})"
    with Source(path, expected) as source:
        for name, dataset in _DATASETS.items():
            if dataset.recognises(source):
                return name
    raise DataError(f"{path} holds no dataset that is known; expected {expected}")
