"""The table of a video: JSON lines, CSV or Parquet, written frame by frame and read again for rendering."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from apvit.files import OutputFile
from apvit.recognition.results import Recognition
from apvit.recognition.sinks import LANDMARKS, RowGroups
from apvit.recognition.sinks import rows as picture_rows
from apvit.recognition.video.errors import VideoError
from apvit.recognition.video.results import VideoFrame

_FRAME = ("source", "frame", "time", "width", "height")
_FACE = ("track", "detected", "x1", "y1", "x2", "y2")
_TEXTS = ("source", "expression", "smoothed_expression", "error", "warning")
_INTEGERS = ("frame", "width", "height", "track")


class FrameWriter(Protocol):
    """Takes one frame after another."""

    def write(self, frame: VideoFrame) -> None:
        """Take one frame."""


class Table(FrameWriter, Protocol):
    """Takes frames, and becomes a file."""

    def write_picture(self, found: Recognition) -> None:
        """Take a picture among the videos, or the error of a video; only in a table that is `mixed`."""

    def close(self, *, whole: bool = True) -> None:
        """Complete what was written; a file gets its name only if the run was `whole`."""


def open_table(
    form: str,
    path: str | Path | None,
    expressions: Sequence[str],
    *,
    embeddings: bool = False,
    mixed: bool = False,
) -> Table:
    """A table "jsonl", "csv" or "parquet" in the file `path`, which gets its name with `close`, or on standard output.

    JSON lines hold one frame each, also one without faces: `VideoFrame.to_dict`. CSV and Parquet have one row per
    face, and one whose `track` is empty for a frame without faces, so that a table tells what was looked at.

    mixed: the frames of several videos, one after the other, and pictures between them. Those of JSON lines are
    `Recognition.to_dict`; those of CSV and Parquet have neither frame nor track, and a column `error` is added.
    """
    file = OutputFile(path)
    if form == "jsonl":
        return JsonlTable(file)
    if form == "csv":
        return CsvTable(file, expressions, mixed=mixed)
    return ParquetTable(file, expressions, embeddings=embeddings, mixed=mixed)


def json_line(found: VideoFrame | Recognition) -> bytes:
    """A frame or picture as one line of JSON. A source that is no valid Unicode is escaped."""
    text = json.dumps(found.to_dict(), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


class JsonlTable:
    """One JSON object per frame, each written at once, so that other programs can follow."""

    def __init__(self, file: OutputFile) -> None:
        self.file = file

    def write(self, frame: VideoFrame) -> None:
        """Write one line."""
        self.file.write(json_line(frame))

    def write_picture(self, found: Recognition) -> None:
        """Write one line."""
        self.file.write(json_line(found))

    def close(self, *, whole: bool = True) -> None:
        """Complete the file."""
        self.file.close(whole=whole)


def columns(expressions: Sequence[str], *, mixed: bool = False) -> list[str]:
    """Names of the columns of CSV and Parquet, in order; p_ is the frame's own probability, smoothed_ the track's."""
    return [
        *_FRAME,
        *_FACE,
        *(f"{name}_{axis}" for name in LANDMARKS for axis in "xy"),
        *("detection_score", "expression", "probability"),
        *(f"p_{name}" for name in expressions),
        *("smoothed_expression", "smoothed_probability"),
        *(f"smoothed_{name}" for name in expressions),
        *(("error",) if mixed else ()),
        "warning",
    ]


def rows(frame: VideoFrame) -> list[dict[str, Any]]:
    """One row per face by track number, or one with neither track nor box for a frame without faces."""
    record = frame.to_dict()
    start = {name: record[name] for name in (*_FRAME, "warning")}
    if not frame.tracks:
        return [start]
    table = []
    for face in record["faces"]:
        smoothed = face["smoothed"]
        row = {**start, **dict(zip(_FACE, (face["track"], face["detected"], *face["box"]), strict=True))}
        for name, point in zip(LANDMARKS, face["landmarks"] or (), strict=False):
            row[f"{name}_x"], row[f"{name}_y"] = point
        row |= {name: face[name] for name in ("detection_score", "expression", "probability")}
        row |= {f"p_{name}": p for name, p in face["probabilities"].items()}
        row |= {f"smoothed_{name}": smoothed[name] for name in ("expression", "probability")}
        row |= {f"smoothed_{name}": p for name, p in smoothed["probabilities"].items()}
        row["embedding"] = face.get("embedding")
        table.append(row)
    return table


class CsvTable:
    """The rows of `rows` under a line with the names of `columns`."""

    def __init__(self, file: OutputFile, expressions: Sequence[str], *, mixed: bool = False) -> None:
        self.file, self.expressions = file, expressions
        self.columns = columns(expressions, mixed=mixed)
        self._write([dict(zip(self.columns, self.columns, strict=True))])

    def write(self, frame: VideoFrame) -> None:
        """Write the frame's rows."""
        self._write(rows(frame))

    def write_picture(self, found: Recognition) -> None:
        """Write the picture's rows."""
        self._write(picture_rows(found, self.expressions))

    def _write(self, table: list[dict[str, Any]]) -> None:
        text = io.StringIO()
        csv.DictWriter(text, self.columns, extrasaction="ignore", lineterminator="\n").writerows(table)
        self.file.write(text.getvalue().encode("utf-8", "backslashreplace"))

    def close(self, *, whole: bool = True) -> None:
        """Complete the file."""
        self.file.close(whole=whole)


def parquet_schema(expressions: Sequence[str], *, embeddings: bool = False, mixed: bool = False) -> Any:
    """The pyarrow.Schema of a `ParquetTable`."""
    import pyarrow as pa  # type: ignore[import-untyped]

    types = {name: pa.string() for name in _TEXTS} | {name: pa.int64() for name in _INTEGERS}
    types["detected"] = pa.bool_()
    fields = [(name, types.get(name, pa.float64())) for name in columns(expressions, mixed=mixed)]
    return pa.schema([*fields, *([("embedding", pa.list_(pa.float32()))] if embeddings else [])])


class ParquetTable:
    """The rows of `CsvTable` with types, and `embedding` (list of float) when asked for."""

    def __init__(
        self, file: OutputFile, expressions: Sequence[str], *, embeddings: bool = False, mixed: bool = False
    ) -> None:
        self.expressions = expressions
        self._groups = RowGroups(file, parquet_schema(expressions, embeddings=embeddings, mixed=mixed))

    def write(self, frame: VideoFrame) -> None:
        """Take the frame's rows; they reach the file a row group at a time."""
        self._add(rows(frame))

    def write_picture(self, found: Recognition) -> None:
        """Take the picture's rows."""
        self._add(picture_rows(found, self.expressions))

    def _add(self, table: list[dict[str, Any]]) -> None:
        for row in table:
            for name in ("source", "error"):
                if row.get(name) is not None:
                    row[name] = row[name].encode("utf-8", "backslashreplace").decode()
            self._groups.add(row)

    def close(self, *, whole: bool = True) -> None:
        """Complete the file."""
        self._groups.close(whole=whole)


def read_table(path: str | Path) -> Iterator[VideoFrame]:
    """The frames of a table that `open_table` wrote, in any of its formats, one by one; pictures are passed over.

    Raises VideoError for a file that is no such table, OSError where it cannot be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(4)
    read = _read_parquet if start == b"PAR1" else _read_jsonl if start[:1] == b"{" else _read_csv
    try:
        yield from read(path)
    except VideoError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # pyarrow's errors are ValueErrors
        raise VideoError(
            f"{path} is no table of a video that apvit wrote ({_short(error)}); give the results file of an earlier run"
        ) from error


def _read_jsonl(path: Path) -> Iterator[VideoFrame]:
    with path.open("rb") as file:
        for line in file:
            record = json.loads(line)
            if "frame" in record or "error" not in record:
                yield VideoFrame.from_dict(record)


def _read_csv(path: Path) -> Iterator[VideoFrame]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if not {*_FRAME, *_FACE} <= set(reader.fieldnames or ()):
            raise VideoError(f"{path} is no table of a video: it lacks the columns {', '.join((*_FRAME, *_FACE))}")
        yield from _frames(_typed(row) for row in reader)


def _read_parquet(path: Path) -> Iterator[VideoFrame]:
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    with pq.ParquetFile(path) as file:
        batches = file.iter_batches(batch_size=1024)
        yield from _frames(row for batch in batches for row in batch.to_pylist())


def _typed(row: Mapping[str, str]) -> dict[str, Any]:
    """A row of CSV as Parquet has it."""
    values: dict[str, Any] = {}
    for name, text in row.items():
        if text == "":
            values[name] = None
        elif name in _TEXTS:
            values[name] = text
        else:
            values[name] = text == "True" if name == "detected" else int(text) if name in _INTEGERS else float(text)
    return values


def _frames(table: Iterable[Mapping[str, Any]]) -> Iterator[VideoFrame]:
    for (_, frame), group in groupby(table, key=lambda row: (row["source"], row["frame"])):
        if frame is None:
            continue
        found = list(group)
        faces = [_face(row) for row in found if row["track"] is not None]
        start = {name: found[0][name] for name in _FRAME}
        yield VideoFrame.from_dict({**start, "warning": found[0].get("warning"), "faces": faces})


def _face(row: Mapping[str, Any]) -> dict[str, Any]:
    names = [name.removeprefix("p_") for name in row if name.startswith("p_")]
    points = [[row[f"{name}_{axis}"] for axis in "xy"] for name in LANDMARKS]
    return {
        "track": row["track"],
        "detected": row["detected"],
        "box": [row[name] for name in _FACE[2:]],
        "landmarks": None if points[0][0] is None else points,
        **{name: row[name] for name in ("detection_score", "expression", "probability")},
        "probabilities": {name: row[f"p_{name}"] for name in names},
        "embedding": row.get("embedding"),
        "smoothed": {
            "expression": row["smoothed_expression"],
            "probability": row["smoothed_probability"],
            "probabilities": {name: row[f"smoothed_{name}"] for name in names},
        },
    }


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())[:80]
    return f"{type(error).__name__}: {text}"
