"""The pictures of a shard, one after the other: by name, by row of a Parquet file, or from a tar; and other columns."""

from __future__ import annotations

import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from apvit.data.pictures import MAX_PICTURE_BYTES
from apvit.faces.pictures import PictureError, read_picture
from apvit.files import counted, reason
from apvit.recognition.archive.inputs import Rows, Shard
from apvit.recognition.archive.locations import absolute, is_uri, join, locate
from apvit.recognition.sources import is_http, kind_of_suffix, read_source

Read: TypeAlias = Callable[[], npt.NDArray[np.uint8]]
"""Gives a picture, uint8 [H, W, 3], or raises PictureError."""

_ROWS_AT_ONCE = 16


def pictures(shard: Shard) -> Iterator[tuple[str, Read]]:
    """(name, how to read it) of every input of the shard, in its order, to be read before the next is taken.

    A row with a picture in it is named "FILE#ROW", from 0; a picture in a tar "TAR/NAME".
    """
    for encoded in shard.pictures:
        name = os.fsdecode(encoded)
        yield name, partial(_read_file, name)
    for rows in shard.rows:
        yield from _read_rows(rows)
    if shard.tar is not None:
        yield from _read_tar(shard.tar)


def other_columns(shard: Shard, schema: Any, pictures: int) -> Any:
    """What the Parquet files say of the shard's pictures beside them: a pyarrow.Table with a row for each, in order.

    pictures: how many there are, which a tar tells only when it has been read

    Empty where there is no such column or row, or the file cannot be read (any more).
    """
    import pyarrow as pa  # type: ignore[import-untyped]

    parts = [_nothing(schema, len(shard.pictures))]
    for rows in shard.rows:
        before = sum(map(len, parts))
        try:
            for batch in _batches(rows, [name for name in schema.names if name != rows.column], 1024):
                columns = [
                    batch[field.name].cast(field.type)
                    if field.name in batch.schema.names
                    else pa.nulls(len(batch), field.type)
                    for field in schema
                ]
                parts.append(pa.table(columns, schema=schema))
        except (OSError, pa.ArrowException):  # said of each picture by reading it
            pass
        parts.append(_nothing(schema, before + len(rows) - sum(map(len, parts))))
    return pa.concat_tables([*parts, _nothing(schema, pictures - sum(map(len, parts)))])


def _nothing(schema: Any, rows: int) -> Any:
    import pyarrow as pa

    return pa.table([pa.nulls(rows, field.type) for field in schema], schema=schema)


def _read_file(name: str) -> npt.NDArray[np.uint8]:
    if not is_uri(name) or is_http(name):
        return read_source(name)
    try:
        filesystem, path = locate(name)
        with filesystem.open_input_file(path) as file:
            _check_size(name, file.size())
            data: bytes = file.read()
    except FileNotFoundError:
        raise PictureError(f"{name!r} does not exist; check the URI") from None
    except OSError as error:
        raise PictureError(f"{name!r} cannot be opened ({_reason(error)}); check access and connection") from error
    return read_picture(data, name=repr(name))


def _read_rows(rows: Rows) -> Iterator[tuple[str, Read]]:
    """The rows of a Parquet file; where it cannot be read (any more), each of the rest raises that when read."""
    import pyarrow as pa

    done = 0
    try:
        for batch in _batches(rows, [rows.column], _ROWS_AT_ONCE):
            for value in batch[0].to_pylist():
                name = f"{rows.path}#{rows.numbers[done]}"
                if rows.named and value:
                    name = absolute(value, rows.folder)
                    yield name, partial(_read_file, name)
                else:
                    yield name, partial(_decode, value, name, rows.folder)
                done += 1
    except (OSError, pa.ArrowException) as error:
        for number in rows.numbers[done:]:
            name = f"{rows.path}#{number}"
            yield name, partial(_fail, f"{name!r} cannot be read ({_reason(error)}); check the file")


def _batches(rows: Rows, columns: Sequence[str], size: int) -> Iterator[Any]:
    """The rows with these of their columns, in batches of at most `size`; a row group's pages in memory at a time.

    Raises OSError where the file ends before.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    filesystem, path = locate(rows.path)
    numbers = np.asarray(rows.numbers)
    with pq.ParquetFile(path, filesystem=filesystem, pre_buffer=False, buffer_size=1 << 20) as file:
        groups: list[int] = []
        before = first = 0
        for group in range(file.metadata.num_row_groups):
            after = before + file.metadata.row_group(group).num_rows
            if before <= numbers[-1] and after > numbers[0]:
                if not groups:
                    first = before
                groups.append(group)
            before = after
        for batch in file.iter_batches(size, row_groups=groups, columns=columns):
            low, high = np.searchsorted(numbers, (first, first + len(batch)))
            if low < high:
                yield batch.take(pa.array(numbers[low:high] - first))
            first += len(batch)
    if before <= numbers[-1]:
        raise OSError(f"the file has only {counted(before, 'row')} now")


def _read_tar(tar: str) -> Iterator[tuple[str, Read]]:
    """The pictures in a tar, by suffix; hidden ones are passed over. Where it cannot be read further, its own name."""
    pictures = 0
    try:
        filesystem, path = locate(tar)
        with (
            filesystem.open_input_stream(path, compression=None) as file,
            tarfile.open(fileobj=file, mode="r|*", bufsize=1 << 20, tarinfo=_Header) as archive,
        ):
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep all
                part = os.path.normpath(f"/{member.name}").lstrip("/")
                kind = kind_of_suffix(part)
                if kind not in ("picture", "video") or any(step.startswith(".") for step in part.split("/")):
                    continue
                name = join(tar, part)
                if member.issym() or member.islnk():
                    why = f"{name!r} is a link to {member.linkname!r}, which is not followed; put the picture itself in"
                    yield name, partial(_fail, why)
                elif member.isfile() and kind == "video":
                    yield name, partial(_fail, f"{name!r} is a video, which is not read inside a tar; unpack it")
                elif member.isfile() and member.size > MAX_PICTURE_BYTES:
                    yield name, partial(_check_size, name, member.size)
                elif content := archive.extractfile(member):
                    yield name, partial(_decode, content.read(), name)
                else:
                    continue
                pictures += 1
    except (OSError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError) as error:
        read = counted(pictures, "picture")
        why = f"{tar!r} cannot be read beyond {read} ({_reason(error)}); copy or download it again"
        yield tar, partial(_fail, why)
    else:
        if not pictures:
            yield tar, partial(_fail, f"{tar!r} holds no picture; leave it out")


class _Header(tarfile.TarInfo):
    """The header of a file in a tar. Where one is damaged or missing, tarfile takes the tar for ended."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):  # the mark of its end
                raise
            raise tarfile.ReadError(str(error)) from error


def _decode(value: Any, name: str, folder: str = os.curdir) -> npt.NDArray[np.uint8]:
    if isinstance(value, dict):  # Hugging Face's: bytes, or the path of a file that was not put in
        if value["bytes"] is None and value["path"]:
            return _read_file(absolute(value["path"], folder))
        value = value["bytes"]
    if not value:
        raise PictureError(f"{name!r} holds no picture; leave it out or fill it")
    _check_size(name, len(value))
    return read_picture(value, name=repr(name))


def _check_size(name: str, size: int) -> Any:
    if size > MAX_PICTURE_BYTES:
        raise PictureError(f"{name!r} has {size:,} bytes, more than the {MAX_PICTURE_BYTES:,} allowed; shrink it first")


def _fail(why: str) -> npt.NDArray[np.uint8]:
    raise PictureError(why)


def _reason(error: Exception) -> str:
    return reason(error).rstrip(".")
