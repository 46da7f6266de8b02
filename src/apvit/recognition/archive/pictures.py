"""The pictures of a shard, one after the other: by name from a file system, or by row from a Parquet file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from apvit.data.pictures import MAX_PICTURE_BYTES
from apvit.faces.pictures import PictureError, read_picture
from apvit.recognition.archive.inputs import Rows, Shard
from apvit.recognition.archive.locations import is_uri, locate

Read: TypeAlias = Callable[[], npt.NDArray[np.uint8]]
"""Gives a picture, uint8 [H, W, 3], or raises PictureError."""

_ROWS_AT_ONCE = 16


def pictures(shard: Shard) -> Iterator[tuple[str, Read]]:
    """(name, how to read it) of every input of the shard, in its order; a row is named "FILE#ROW", from 0."""
    for encoded in shard.pictures:
        name = os.fsdecode(encoded)
        yield name, partial(_read_file, name)
    for rows in shard.rows:
        yield from _read_rows(rows)


def _read_file(name: str) -> npt.NDArray[np.uint8]:
    if not is_uri(name):
        return read_picture(name)
    try:
        filesystem, path = locate(name)
        with filesystem.open_input_file(path) as file:
            if file.size() > MAX_PICTURE_BYTES:
                raise PictureError(
                    f"{name!r} has {file.size():,} bytes, more than the {MAX_PICTURE_BYTES:,} allowed; shrink it first"
                )
            data: bytes = file.read()
    except FileNotFoundError:
        raise PictureError(f"{name!r} does not exist; check the URI") from None
    except OSError as error:
        raise PictureError(f"{name!r} cannot be opened ({_reason(error)}); check access and connection") from error
    return read_picture(data, name=repr(name))


def _read_rows(rows: Rows) -> Iterator[tuple[str, Read]]:
    """The rows of a Parquet file; where it cannot be read (any more), each of the rest raises that when read."""
    import pyarrow as pa  # type: ignore[import-untyped]

    row = rows.start
    try:
        for value in _values(rows):
            name = f"{rows.path}#{row}"
            yield name, partial(_decode, value, name)
            row += 1
    except (OSError, pa.ArrowException) as error:
        reason = _reason(error)
        for rest in range(row, rows.stop):
            yield f"{rows.path}#{rest}", partial(_fail, f"{rows.path}#{rest}", reason)


def _values(rows: Rows) -> Iterator[Any]:
    """What stands in the column, row by row, a few rows and one row group's pages in memory at a time."""
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    filesystem, path = locate(rows.path)
    with pq.ParquetFile(path, filesystem=filesystem, pre_buffer=False, buffer_size=1 << 20) as file:
        groups: list[int] = []
        before = first = 0
        for group in range(file.metadata.num_row_groups):
            after = before + file.metadata.row_group(group).num_rows
            if before < rows.stop and after > rows.start:
                if not groups:
                    first = before
                groups.append(group)
            before = after
        row = first
        for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=groups, columns=[rows.column]):
            for value in batch.column(0):
                if rows.start <= row < rows.stop:
                    yield value.as_py()
                row += 1
    if row < rows.stop:
        raise OSError(f"the file has only {row} rows now")


def _decode(value: Any, name: str) -> npt.NDArray[np.uint8]:
    if isinstance(value, dict):  # Hugging Face's: bytes, or the path of a file that was not put in
        if value["bytes"] is None and value["path"]:
            return _read_file(value["path"])
        value = value["bytes"]
    if value is None:
        raise PictureError(f"{name!r} holds no picture; leave the row out or fill it")
    if len(value) > MAX_PICTURE_BYTES:
        raise PictureError(
            f"{name!r} has {len(value):,} bytes, more than the {MAX_PICTURE_BYTES:,} allowed; shrink it first"
        )
    return read_picture(value, name=repr(name))


def _fail(name: str, reason: str) -> npt.NDArray[np.uint8]:
    raise PictureError(f"{name!r} cannot be read ({reason}); check the file")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
