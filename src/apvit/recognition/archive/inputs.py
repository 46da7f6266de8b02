"""From what a user names to the sorted list of an archive's pictures, and from the list to its shards.

The list is all that the driver holds of the pictures: in Arrow's memory their names and 8 bytes each (a Parquet file
with the pictures' bytes in it counts as one name), never a picture.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from apvit.recognition.archive.errors import ArchiveError
from apvit.recognition.archive.locations import absolute, is_uri, join, locate, suffix
from apvit.recognition.sources import PICTURE_SUFFIXES

TABLE_SUFFIX = ".parquet"
LIST_SUFFIXES = (".txt", ".list")
COLUMNS = ("image", "path", "uri")
"""Columns of a Parquet file that may hold the pictures; the first that is there counts."""

_CHUNK = 1 << 16
_READERS = 16


@dataclass(frozen=True)
class Rows:
    """Some rows of a Parquet file with pictures in it; `column` holds them, `start` and `stop` count from 0."""

    path: str
    column: str
    start: int
    stop: int


@dataclass(frozen=True)
class Shard:
    """What one worker does at a time and what one file of the output holds: names of pictures, and rows."""

    number: int
    pictures: tuple[bytes, ...]
    rows: tuple[Rows, ...]

    def __len__(self) -> int:
        return len(self.pictures) + sum(rows.stop - rows.start for rows in self.rows)


@dataclass(frozen=True)
class Inputs:
    """An archive: pictures first (pyarrow large_binary [N], sorted, each once), then whole Parquet files by name.

    Names are bytes, as a file system may have them; local ones are absolute.
    """

    pictures: Any
    tables: tuple[Rows, ...]
    repeated: int = 0
    """How often a picture was named again."""

    def __len__(self) -> int:
        return len(self.pictures) + sum(rows.stop for rows in self.tables)

    def digest(self) -> str:
        """SHA-256 of all names in order, and of the Parquet files' columns and numbers of rows."""
        digest = hashlib.sha256()
        for start in range(0, len(self.pictures), _CHUNK):
            names = self.pictures.slice(start, _CHUNK).to_pylist()
            digest.update(b"".join(name + b"\0" for name in names))
        for rows in self.tables:
            digest.update(os.fsencode(f"{rows.path}\0{rows.column}\0{rows.stop}\0"))
        return digest.hexdigest()

    def shard(self, number: int, size: int) -> Shard:
        """Shard `number` of shards of `size` inputs; it depends on nothing but the list."""
        start, stop = number * size, min((number + 1) * size, len(self))
        pictures = self.pictures.slice(start, max(0, stop - start)).to_pylist() if start < len(self.pictures) else []
        rows = []
        ends = accumulate((table.stop for table in self.tables), initial=len(self.pictures))
        for table, first in zip(self.tables, ends, strict=False):
            low, high = max(start - first, 0), min(stop - first, table.stop)
            if low < high:
                rows.append(Rows(table.path, table.column, low, high))
        return Shard(number, tuple(pictures), tuple(rows))


def gather_inputs(
    names: Sequence[str], *, skip: str | None = None, warn: Callable[[str], None] = lambda message: None
) -> Inputs:
    """The archive that `names` mean; every name is a local path or a URI.

    - a folder: its pictures (by suffix) and Parquet files, and those of its subfolders; hidden ones, links to folders
      and the folder `skip` (where results go) are passed over
    - a Parquet file: one picture in every row. The first of the columns "image", "path", "uri" counts; it holds
      encoded bytes, Hugging Face's struct of bytes and path, or text, a path or URI
    - a .txt or .list file: a path or URI per line
    - anything else: one picture

    Relative local names count from the current folder. A picture that is named again is done once. Raises ArchiveError
    for a list or Parquet file that cannot be read, and where there is no picture at all.
    """
    found = _Names()
    tables: dict[str, None] = {}
    for name in map(absolute, names):
        if _is_folder(name):
            before = found.count + len(tables)
            for path in _files(name, None if skip is None else absolute(skip)):
                if suffix(path) == TABLE_SUFFIX:
                    tables[path] = None
                else:
                    found.add(os.fsencode(path))
            if found.count + len(tables) == before:
                warn(f"no pictures in the folder {name}")
        elif suffix(name) == TABLE_SUFFIX:
            tables[name] = None
        elif suffix(name) in LIST_SUFFIXES:
            found.extend(_lines(name))
        else:
            found.add(os.fsencode(name))
    whole = []
    with ThreadPoolExecutor(_READERS) as readers:
        for table, holds_bytes in readers.map(_examine, sorted(tables)):
            if holds_bytes:
                whole.append(table)
            else:
                found.extend(_paths(table))
    pictures = found.sorted()
    inputs = Inputs(pictures, tuple(t for t in whole if t.stop), found.count - len(pictures))
    if not len(inputs):
        raise ArchiveError(f"there is no picture in {', '.join(names)}; name a folder, Parquet file or list with some")
    if inputs.repeated:
        warn(f"pictures named more than once are done once: {inputs.repeated:,} repetitions were left out")
    return inputs


class _Names:
    """Names on their way into Arrow's memory, where each takes its length and 8 bytes."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: list[bytes] = []
        self._chunks: list[Any] = []

    def add(self, name: bytes) -> None:
        self.count += 1
        self._waiting.append(name)
        if len(self._waiting) == _CHUNK:
            self._pack()

    def extend(self, names: Iterator[bytes]) -> None:
        for name in names:
            self.add(name)

    def _pack(self) -> None:
        import pyarrow as pa  # type: ignore[import-untyped]

        self._chunks.append(pa.array(self._waiting, pa.large_binary()))
        self._waiting = []

    def sorted(self) -> Any:
        """All of them, each once, in the order of their bytes: pyarrow large_binary [N]."""
        import pyarrow as pa
        import pyarrow.compute as pc  # type: ignore[import-untyped]

        self._pack()
        names = pc.unique(pa.chunked_array(self._chunks, pa.large_binary()))
        self._chunks = []
        return names.take(pc.sort_indices(names))


def _is_folder(name: str) -> bool:
    from pyarrow.fs import FileType  # type: ignore[import-untyped]

    if not is_uri(name):
        return os.path.isdir(name)
    filesystem, path = locate(name)
    try:
        return bool(filesystem.get_file_info(path).type == FileType.Directory)
    except OSError as error:
        raise _unreadable(name, error) from error


def _files(folder: str, skip: str | None) -> Iterator[str]:
    wanted = (*PICTURE_SUFFIXES, TABLE_SUFFIX)
    if not is_uri(folder):
        # Links to folders, which may lead in circles, are followed by pyarrow and not by os.walk.
        for where, folders, files in os.walk(folder, onerror=_raise_unreadable):
            folders[:] = [f for f in folders if not f.startswith(".") and os.path.join(where, f) != skip]
            yield from (os.path.join(where, f) for f in files if not f.startswith(".") and f.lower().endswith(wanted))
        return
    from pyarrow.fs import FileSelector, FileType

    filesystem, root = locate(folder)
    skipped = None if skip is None or not is_uri(skip) else locate(skip)[1] + "/"
    try:
        listed = filesystem.get_file_info(FileSelector(root, recursive=True))
    except OSError as error:
        raise _unreadable(folder, error) from error
    for info in listed:
        part = info.path[len(root) :].lstrip("/")
        hidden = any(step.startswith(".") for step in part.split("/"))
        if info.type != FileType.File or hidden or not part.lower().endswith(wanted):
            continue
        if skipped is None or not info.path.startswith(skipped):
            yield join(folder, part)


def _lines(name: str) -> Iterator[bytes]:
    filesystem, path = locate(name)
    try:
        with io.BufferedReader(filesystem.open_input_stream(path)) as file:
            for line in file:
                if entry := line.rstrip(b"\r\n"):
                    yield os.fsencode(absolute(os.fsdecode(entry)))
    except OSError as error:
        raise _unreadable(name, error) from error


def _examine(name: str) -> tuple[Rows, bool]:
    """All rows of a Parquet file, and whether it holds the pictures' bytes (else their names)."""
    import pyarrow as pa
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    filesystem, path = locate(name)
    try:
        with pq.ParquetFile(path, filesystem=filesystem) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(name, error) from error
    column = next((c for c in COLUMNS if c in schema.names), None)
    if column is None:
        raise ArchiveError(
            f"{name} has the columns {', '.join(schema.names)}, and none of {', '.join(COLUMNS)}; rename the one with "
            "the pictures"
        )
    kind = schema.field(column).type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Rows(name, column, 0, rows), False
    struct = pa.types.is_struct(kind) and {field.name for field in kind} >= {"bytes", "path"}
    if struct or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return Rows(name, column, 0, rows), True
    raise ArchiveError(
        f"the column {column} of {name} is {kind}; it must hold encoded pictures (binary, or Hugging Face's struct of "
        "bytes and path) or their paths (string)"
    )


def _paths(table: Rows) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    filesystem, path = locate(table.path)
    try:
        with pq.ParquetFile(path, filesystem=filesystem) as file:
            for batch in file.iter_batches(_CHUNK, columns=[table.column]):
                yield from (os.fsencode(absolute(name)) for name in batch.column(0).to_pylist() if name)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(table.path, error) from error


def _unreadable(name: str, error: Exception) -> ArchiveError:
    reason = " ".join((getattr(error, "strerror", None) or str(error)).split()).rstrip(".")
    return ArchiveError(f"{name} cannot be read ({reason}); check the name, its permissions and the connection")


def _raise_unreadable(error: OSError) -> None:
    raise _unreadable(str(error.filename), error)
