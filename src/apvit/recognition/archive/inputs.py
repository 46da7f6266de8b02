"""From what a user names to the list of an archive's pictures and videos, and from the list to its shards.

The list is all that the driver holds of the pictures: in Arrow's memory their names and 8 bytes each, never a picture.
Of pictures that are in Parquet and tar files, or named there, it holds the names of these files; videos are few.
"""

from __future__ import annotations

import hashlib
import io
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from typing import Any

import numpy as np
import numpy.typing as npt

from apvit.files import counted
from apvit.recognition.archive.errors import ArchiveError
from apvit.recognition.archive.locations import absolute, is_uri, join, kind, locate
from apvit.recognition.sources import (
    Kind,
    expand_sources,
    is_pattern,
    kind_in_folder,
    kind_of,
    kind_of_suffix,
    read_list,
)

COLUMNS = ("image", "path", "uri")
"""Columns of a Parquet file that may hold the pictures; the first that is there counts."""

_CHUNK = 1 << 16
_READERS = 16


@dataclass(frozen=True)
class Rows:
    """Some rows of a Parquet file, one picture in each.

    column: the pictures, or where `named` their paths or URIs
    numbers: of the rows in ascending order, counted from 0
    folder: what relative paths in it count from
    """

    path: str
    column: str
    numbers: Sequence[int]
    named: bool = False
    folder: str = os.curdir

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class Shard:
    """What one worker does at a time and what one file of the output holds.

    Names of pictures, and rows; or a tar; or a video, with the row that names it where there is one.
    """

    number: int
    pictures: tuple[bytes, ...] = ()
    rows: tuple[Rows, ...] = ()
    tar: str | None = None
    video: str | None = None

    def __len__(self) -> int:
        """Number of its inputs, as far as it is known without reading the tar."""
        return 1 if self.video is not None else len(self.pictures) + sum(map(len, self.rows))


@dataclass(frozen=True)
class Inputs:
    """An archive: pictures (pyarrow large_binary [N], sorted), then Parquet files, tar files and videos; each once.

    Names of pictures are bytes, as a file system may have them; local ones are absolute.
    videos: by name, with the row of a Parquet file that names it
    columns: a pyarrow.Schema of the Parquet files' other columns, which go to the output
    paths_sha256: of all that the Parquet files name
    repeated: how often a picture or file was named again
    """

    pictures: Any
    tables: tuple[Rows, ...] = ()
    tars: tuple[str, ...] = ()
    videos: tuple[tuple[str, Rows | None], ...] = ()
    columns: Any = None
    paths_sha256: str = ""
    repeated: int = 0

    def __len__(self) -> int:
        """Number of the pictures outside tar files and videos."""
        return len(self.pictures) + sum(map(len, self.tables))

    def digest(self) -> str:
        """SHA-256 of all names in order, and of the Parquet files' columns and numbers of rows."""
        digest = hashlib.sha256()
        for start in range(0, len(self.pictures), _CHUNK):
            names = self.pictures.slice(start, _CHUNK).to_pylist()
            digest.update(b"".join(name + b"\0" for name in names))
        for rows in self.tables:
            digest.update(os.fsencode(f"{rows.path}\0{rows.column}\0{len(rows)}\0"))
        files = (*self.tars, *(name for name, _ in self.videos))
        digest.update(os.fsencode("\0".join((self.paths_sha256, str(self.columns), *files))))
        return digest.hexdigest()

    def shard(self, number: int, size: int) -> Shard:
        """Shard `number` of shards of `size` pictures, after which come one per tar and one per video, which are read
        from their beginning. It depends on nothing but the list.
        """
        start, stop = number * size, min((number + 1) * size, len(self))
        if start >= len(self):
            file = number + len(self) // -size
            if file < len(self.tars):
                return Shard(number, tar=self.tars[file])
            video, row = self.videos[file - len(self.tars)]
            return Shard(number, rows=() if row is None else (row,), video=video)
        pictures = self.pictures.slice(start, stop - start).to_pylist() if start < len(self.pictures) else []
        rows = []
        ends = accumulate(map(len, self.tables), initial=len(self.pictures))
        for table, first in zip(self.tables, ends, strict=False):
            low, high = max(start - first, 0), min(stop - first, len(table))
            if low < high:
                rows.append(replace(table, numbers=table.numbers[low:high]))
        return Shard(number, tuple(pictures), tuple(rows))


def gather_inputs(
    names: Sequence[str], *, skip: str | None = None, warn: Callable[[str], None] = lambda message: None
) -> Inputs:
    """The archive that `names` mean; every name is a local path, a pattern of local paths, or a URI.

    - a folder: its pictures, videos, Parquet and tar files, and those of its subfolders; hidden ones, links to folders
      and the folder `skip` (where results go) are passed over
    - a Parquet file: one input in every row. The first of the columns "image", "path", "uri" counts; it holds
      encoded bytes, Hugging Face's struct of bytes and path, or text, a path or URI
    - a .tar, .tgz or .tar.gz file: the pictures in it, as WebDataset has them
    - a .txt or .list file: a path or URI per line (see `read_list`), of all of these but folders
    - a video, and anything else is one picture, also at an http(s) URL

    What a file on this machine is that is named here, its content says; in folders, lists and stores it is the suffix.
    Relative local names count from the current folder. What is named again is done once. Raises ArchiveError
    for a list or Parquet file that cannot be read, and where there is no picture at all.
    """
    found = _Found()
    for name in map(absolute, chain.from_iterable(_matches(name, skip) for name in names)):
        if _is_folder(name):
            before = found.count
            for path, what in _files(name, None if skip is None else absolute(skip)):
                found.add(path, what)
            if found.count == before:
                warn(f"no pictures or videos in the folder {name}")
        elif (what := kind(name) if is_uri(name) else kind_of(name)) == "list":
            for entry in map(absolute, _lines(name)):
                found.add(entry, kind(entry))
        else:
            found.add(name, what)
    inputs = found.once(warn)
    if not len(inputs) and not inputs.tars and not inputs.videos:
        raise ArchiveError(
            f"there is no picture or video in {', '.join(names)}; name a folder, Parquet file or list with some"
        )
    if inputs.repeated:
        warn(f"what is named more than once is done once: left out {counted(inputs.repeated, 'repetition')}")
    return inputs


class _Found:
    """What is named, on its way into Arrow's memory, where a name takes its length and 8 bytes."""

    def __init__(self) -> None:
        self.count = 0
        self._tables: Counter[str] = Counter()
        self._tars: Counter[str] = Counter()
        self._videos: Counter[str] = Counter()
        self._waiting: list[bytes | None] = []
        self._chunks: list[Any] = []

    def add(self, name: str, what: Kind | None) -> None:
        self.count += 1
        if what == "table":
            self._tables[name] += 1
        elif what == "tar":
            self._tars[name] += 1
        elif what == "video":
            self._videos[name] += 1
        else:
            self._append(os.fsencode(name))

    def once(self, warn: Callable[[str], None]) -> Inputs:
        """All of it, each picture once."""
        import pyarrow as pa  # type: ignore[import-untyped]

        with ThreadPoolExecutor(_READERS) as readers:
            examined = list(readers.map(_examine, sorted(self._tables)))
        self._pack()
        pictures, self._chunks = self._chunks, []
        named = [rows for rows, _ in examined if rows.named]
        ends = list(accumulate(map(len, named), initial=0))
        videos: dict[str, Rows | None] = {}
        aside = []  # where tables name them
        digest = hashlib.sha256()
        for place, (rows, number, path) in enumerate(_paths(named)):
            digest.update((path or b"") + b"\0")
            if path is not None and kind(name := os.fsdecode(path)) == "video":
                videos.setdefault(name, replace(rows, numbers=(number,)))
                self._videos[name] += 1
                aside.append(place)
                path = None
            self._append(path)
        self._pack()
        # What a table names comes first, so that a picture named again keeps the table's columns.
        names = pa.chunked_array([*self._chunks, *pictures], pa.large_binary()).combine_chunks()
        del self._chunks, pictures
        places, first = _first_of_each(names)
        keep = np.empty(len(names), bool)
        keep[places] = first
        files = self._tables + self._tars + self._videos
        repeated = len(keep) - int(keep.sum()) + files.total() - len(files)
        keep[aside] = False
        kept = {rows.path: _numbers(keep[start : start + len(rows)]) for rows, start in zip(named, ends, strict=False)}
        tables = (replace(rows, numbers=kept.get(rows.path, rows.numbers)) for rows, _ in examined)
        return Inputs(
            names.take(pa.array(places[first & (places >= ends[-1])])),
            tuple(rows for rows in tables if len(rows)),
            tuple(sorted(self._tars)),
            tuple((name, videos.get(name)) for name in sorted(self._videos)),
            _other_columns(examined, warn),
            digest.hexdigest(),
            repeated,
        )

    def _append(self, name: bytes | None) -> None:
        self._waiting.append(name)
        if len(self._waiting) == _CHUNK:
            self._pack()

    def _pack(self) -> None:
        import pyarrow as pa

        self._chunks.append(pa.array(self._waiting, pa.large_binary()))
        self._waiting = []


def _first_of_each(names: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The places of names (pyarrow large_binary [N]) in the order of their bytes, and which are no repetition.

    Nulls are last, and none is a repetition.
    """
    import pyarrow.compute as pc  # type: ignore[import-untyped]

    order = pc.sort_indices(names)  # stable
    first = np.ones(len(names), bool)
    if present := len(names) - names.null_count:
        ordered = names.take(order.slice(0, present))
        first[1:present] = pc.not_equal(ordered.slice(1), ordered.slice(0, present - 1))
    return order.to_numpy(), first


def _numbers(keep: npt.NDArray[np.bool_]) -> Sequence[int]:
    """The places of what is kept."""
    return range(len(keep)) if keep.all() else array("q", np.flatnonzero(keep).astype(np.int64).tobytes())


def _matches(name: str, skip: str | None) -> Iterator[str]:
    if is_pattern(name) and not is_uri(name) and not os.path.lexists(name):
        yield from expand_sources([name], skip=skip)
    else:
        yield name


def _is_folder(name: str) -> bool:
    from pyarrow.fs import FileType  # type: ignore[import-untyped]

    if not is_uri(name):
        return os.path.isdir(name)
    filesystem, path = locate(name)
    try:
        return bool(filesystem.get_file_info(path).type == FileType.Directory)
    except OSError as error:
        raise _unreadable(name, error) from error


def _files(folder: str, skip: str | None) -> Iterator[tuple[str, Kind | None]]:
    wanted = ("picture", "video", "table", "tar")
    if not is_uri(folder):
        # Links to folders, which may lead in circles, are followed by pyarrow and not by os.walk.
        for where, folders, files in os.walk(folder, onerror=_raise_unreadable):
            folders[:] = [f for f in folders if not f.startswith(".") and os.path.join(where, f) != skip]
            for path in (os.path.join(where, name) for name in files if not name.startswith(".")):
                if (what := kind_in_folder(path)) in wanted:
                    yield path, what
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
        if info.type != FileType.File or hidden or (what := kind_of_suffix(part)) not in wanted:
            continue
        if skipped is None or not info.path.startswith(skipped):
            yield join(folder, part), what


def _lines(name: str) -> Iterator[str]:
    filesystem, path = locate(name)
    try:
        with io.BufferedReader(filesystem.open_input_stream(path)) as file:
            yield from read_list(file)
    except OSError as error:
        raise _unreadable(name, error) from error


def _examine(name: str) -> tuple[Rows, Any]:
    """All rows of a Parquet file, and its schema."""
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
    named = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not named and not _holds_bytes(kind):
        raise ArchiveError(
            f"the column {column} of {name} is {kind}; it must hold encoded pictures (binary, or Hugging Face's struct "
            "of bytes and path) or their paths (string)"
        )
    return Rows(name, column, range(rows), named, os.getcwd()), schema


def _holds_bytes(kind: Any) -> bool:
    import pyarrow as pa

    struct = pa.types.is_struct(kind) and {field.name for field in kind} >= {"bytes", "path"}
    return struct or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _other_columns(examined: Sequence[tuple[Rows, Any]], warn: Callable[[str], None]) -> Any:
    """A schema of the columns beside the pictures, None without any.

    Of different types of number, the wider one is taken. Columns of bytes, which may be pictures too, are left out.
    """
    import pyarrow as pa

    schemas = []
    left_out: dict[str, None] = {}
    for rows, schema in examined:
        others = [field for field in schema if field.name != rows.column]
        left_out |= {field.name: None for field in others if _holds_bytes(field.type)}
        others = [f for f in others if not _holds_bytes(f.type) and schema.names.count(f.name) == 1]
        schemas.append(pa.schema([field.with_nullable(True).remove_metadata() for field in others]))
    if left_out:
        warn(f"columns of bytes are not carried to the results: {', '.join(left_out)}")
    try:
        together = pa.unify_schemas(schemas, promote_options="permissive") if schemas else ()
    except pa.ArrowException as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ArchiveError(
            f"the columns of the Parquet files do not go together ({reason}); rename one of them, or start a job for "
            "each file"
        ) from None
    return together if len(together) else None


def _paths(tables: Iterable[Rows]) -> Iterator[tuple[Rows, int, bytes | None]]:
    """What each row of the tables names; None for a row that names nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for table in tables:
        filesystem, path = locate(table.path)
        number = 0
        try:
            with pq.ParquetFile(path, filesystem=filesystem) as file:
                for batch in file.iter_batches(_CHUNK, columns=[table.column]):
                    for name in batch.column(0).to_pylist():
                        yield table, number, os.fsencode(absolute(name, table.folder)) if name else None
                        number += 1
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(table.path, error) from error


def _unreadable(name: str, error: Exception) -> ArchiveError:
    reason = " ".join((getattr(error, "strerror", None) or str(error)).split()).rstrip(".")
    return ArchiveError(f"{name} cannot be read ({reason}); check the name, its permissions and the connection")


def _raise_unreadable(error: OSError) -> None:
    raise _unreadable(str(error.filename), error)
