"""Opening one split of whatever a user calls a dataset."""

from __future__ import annotations

import logging
from pathlib import Path

from apvit.data.datasets import recognise
from apvit.data.errors import DataError
from apvit.data.preparing import load_split
from apvit.data.rows import SPLITS
from apvit.data.store import Split, read_split
from apvit.files import unknown


def open_split(data: str | Path, split: str | None = None) -> Split:
    """One split of `data`: a prepared Parquet file, a folder of them, or anything that `prepare` understands.

    A dataset in its owner's layout is prepared in memory with the default options; what `prepare` would warn of is
    logged. `split` defaults to the file's own, or else to `valid`. Raises DataError where there is no such split.
    """
    path = Path(data)
    if split is not None and split not in SPLITS:
        raise DataError(unknown("split", split, SPLITS))
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
    opened, warnings = load_split(recognise(path), path, split)
    for warning in warnings:
        logging.getLogger(__name__).warning("%s: %s", path, warning)
    return opened
