"""Where results go: a table for people; JSON lines, CSV and Parquet for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from apvit.files import OutputFile, check_output, unknown
from apvit.recognition.results import Recognition

FORMATS = ("table", "jsonl", "csv", "parquet")

LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
"""Column names of the five points; left and right as seen in the picture."""

ROW_GROUP = 8192
"""Rows per Parquet row group: the memory a long run needs, against what a reader can skip."""


class SinkError(ValueError):
    """Results cannot be written as asked."""


class Sink(Protocol):
    """Takes one recognition after another."""

    def write(self, found: Recognition) -> None:
        """Take the result of one picture."""

    def close(self, *, whole: bool = True) -> None:
        """Complete what was written. A file gets its name only now, and only if the run was `whole`."""


def check_format(form: str, output: str | Path | None, *, embeddings: bool = False) -> None:
    """Raises SinkError for a format and an output that do not go together, before any work is done.

    Where the output cannot be written, OutputError is raised (`files.check_output`).
    """
    if form not in FORMATS:
        raise SinkError(unknown("format", form, FORMATS))
    if form == "table" and output is not None:
        raise SinkError("a table is for the terminal; for a file choose the format jsonl, csv or parquet")
    if form == "parquet" and output is None:
        raise SinkError("Parquet cannot go to the terminal; name an output file")
    if form == "csv" and embeddings:
        raise SinkError("CSV has no column for embeddings; choose the format jsonl or parquet")
    if output is not None:
        check_output(output)


def open_sink(form: str, output: str | Path | None, expressions: Sequence[str], *, embeddings: bool = False) -> Sink:
    """A sink of the form "table", "jsonl", "csv" or "parquet", to the file `output` or to standard output (None).

    A file is complete once it has its name (`files.OutputFile`). Raises what `check_format` raises, and OSError where
    the file cannot be made.
    """
    check_format(form, output, embeddings=embeddings)
    if form == "table":
        return TableSink()
    file = OutputFile(output)
    if form == "jsonl":
        return JsonlSink(file)
    return CsvSink(file, expressions) if form == "csv" else ParquetSink(file, expressions, embeddings=embeddings)


class JsonlSink:
    """One JSON object per input: `Recognition.to_dict`."""

    def __init__(self, file: OutputFile):
        self.file = file

    def write(self, found: Recognition) -> None:
        """Write one line."""
        text = json.dumps(found.to_dict(), ensure_ascii=False, allow_nan=False)
        # A file name that is no valid Unicode becomes a JSON escape, which json.loads turns back.
        self.file.write(text.encode("utf-8", "backslashreplace") + b"\n")

    def close(self, *, whole: bool = True) -> None:
        """Complete the file."""
        self.file.close(whole=whole)


def columns(expressions: Sequence[str]) -> list[str]:
    """Names of the columns of CSV and Parquet, in order."""
    points = [f"{name}_{axis}" for name in LANDMARKS for axis in "xy"]
    probabilities = [f"p_{name}" for name in expressions]
    return [
        *("source", "face", "width", "height", "x1", "y1", "x2", "y2"),
        *points,
        *("detection_score", "expression", "probability"),
        *probabilities,
        "error",
        "warning",
    ]


def rows(found: Recognition, expressions: Sequence[str], *, every_picture: bool = False) -> list[dict[str, Any]]:
    """One row per face, counted from 1, or one with the error, or with the warning that all faces were left out.

    Another picture without faces has none; with `every_picture` it has one, in which `face` and `error` are empty.
    """
    record = found.to_dict()
    start: dict[str, Any] = {name: record[name] for name in ("source", "width", "height", "error", "warning")}
    if not found.faces and (every_picture or found.error is not None or found.warning is not None):
        return [start]
    table = []
    for number, face in enumerate(record["faces"], 1):
        row = {**start, "face": number, **dict(zip(("x1", "y1", "x2", "y2"), face["box"], strict=True))}
        for name, point in zip(LANDMARKS, face["landmarks"] or (), strict=False):
            row[f"{name}_x"], row[f"{name}_y"] = point
        row.update({name: face[name] for name in ("detection_score", "expression", "probability")})
        row.update({f"p_{name}": face["probabilities"][name] for name in expressions})
        row["embedding"] = face.get("embedding")
        table.append(row)
    return table


class CsvSink:
    """One row per face, and one with `error` per bad input; the columns are `columns(expressions)`."""

    def __init__(self, file: OutputFile, expressions: Sequence[str]):
        self.file = file
        self.expressions = tuple(expressions)
        self.columns = columns(expressions)
        self._write([dict(zip(self.columns, self.columns, strict=True))])

    def write(self, found: Recognition) -> None:
        """Write the picture's rows."""
        self._write(rows(found, self.expressions))

    def _write(self, table: list[dict[str, Any]]) -> None:
        text = io.StringIO()
        csv.DictWriter(text, self.columns, extrasaction="ignore", lineterminator="\n").writerows(table)
        self.file.write(text.getvalue().encode("utf-8", "backslashreplace"))

    def close(self, *, whole: bool = True) -> None:
        """Complete the file."""
        self.file.close(whole=whole)


class RowGroups:
    """Rows of a Parquet file, which reach it a row group at a time."""

    def __init__(self, file: OutputFile, schema: Any) -> None:
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        self.schema = schema
        self._file = file
        self._rows: list[dict[str, Any]] = []
        self._writer = pq.ParquetWriter(file.stream, schema)

    def add(self, row: dict[str, Any]) -> None:
        """Take one row."""
        self._rows.append(row)
        if len(self._rows) >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self.schema))
        self._rows = []

    def close(self, *, whole: bool) -> None:
        """Write what is left and the footer, without which no Parquet file can be read."""
        if self._rows:
            self._flush()
        self._writer.close()
        self._file.close(whole=whole)


def parquet_schema(expressions: Sequence[str], *, embeddings: bool = False) -> Any:
    """The pyarrow.Schema of a `ParquetSink`."""
    import pyarrow as pa

    types = {"source": pa.string(), "expression": pa.string(), "error": pa.string(), "warning": pa.string()}
    types |= {name: pa.int32() for name in ("face", "width", "height")}
    fields = [(name, types.get(name, pa.float64())) for name in columns(expressions)]
    return pa.schema([*fields, *([("embedding", pa.list_(pa.float32()))] if embeddings else [])])


class ParquetSink:
    """The rows of `CsvSink` with types, and `embedding` (list of float) when asked for; `every_picture`: see `rows`."""

    def __init__(
        self,
        file: OutputFile,
        expressions: Sequence[str],
        *,
        embeddings: bool = False,
        every_picture: bool = False,
    ):
        self.expressions = tuple(expressions)
        self.every_picture = every_picture
        self._groups = RowGroups(file, parquet_schema(expressions, embeddings=embeddings))

    def write(self, found: Recognition) -> None:
        """Take the picture's rows; they reach the file a row group at a time."""
        for row in rows(found, self.expressions, every_picture=self.every_picture):
            for name in ("source", "error"):
                row[name] = row[name] and row[name].encode("utf-8", "backslashreplace").decode()
            self._groups.add(row)

    def close(self, *, whole: bool = True) -> None:
        """Complete the file."""
        self._groups.close(whole=whole)


class TableSink:
    """Lines for people on standard output: one per face, one per picture without faces, one per error."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.started = False

    def write(self, found: Recognition) -> None:
        """Print the picture's lines."""
        if not self.started:
            self._print(f"{'face':>4}  {'expression':<10}  {'probability':<15}  picture", "bold")
            self.started = True
        if found.error is not None:
            self._print(f"   -  error: {found.error_text}", "red")
        elif not found.faces:
            self._line("-", Text("no face", "dim"), "", "", found)
        for number, face in enumerate(found.faces, 1):
            name = Text(face.expression) if face.expression is not None else Text("unsure", "dim")
            self._line(str(number), name, f"{face.probability:.2f}", self._bar(face.probability), found)

    def _line(self, number: str, expression: Text, probability: str, bar: str, found: Recognition) -> None:
        expression.pad_right(max(0, 10 - expression.cell_len))
        self.console.print(
            Text.assemble(f"{number:>4}  ", expression, f"  {probability:<4} ", (f"{bar:<10}", "cyan"), "  ")
            + Text(printable(str(found.source)))
        )

    def _print(self, text: str, style: str) -> None:
        self.console.print(Text(printable(text), style))

    def _bar(self, fraction: float, width: int = 10) -> str:
        """`width` cells, filled in eighths of a cell where the terminal has the signs."""
        if self.console.options.ascii_only:
            return "#" * round(fraction * width)
        eighths = round(fraction * width * 8)
        return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()

    def close(self, *, whole: bool = True) -> None:
        """Nothing is left to do."""


def printable(text: str) -> str:
    """`text` without control characters, which a file's name may hold and a terminal would obey."""
    text = "".join(c if c.isprintable() or c == " " else repr(c)[1:-1] for c in text)
    return text.encode("utf-8", "backslashreplace").decode()
