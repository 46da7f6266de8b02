"""What is written can be read back, and a file never appears half."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from apvit.faces.pictures import PictureError
from apvit.files import OutputError, OutputFile
from apvit.recognition import Face, Recognition
from apvit.recognition.sinks import (
    FORMATS,
    JsonlSink,
    ParquetSink,
    SinkError,
    TableSink,
    check_format,
    columns,
    open_sink,
)

NAMES = ("neutral", "happiness", "contempt")


def face(x: float = 1, *, whole: bool = False, embedding: Any = None, expression: str | None = "happiness") -> Face:
    return Face(
        box=(x, 2.0, x + 30.1234, 40.0),
        landmarks=None if whole else np.arange(10).reshape(5, 2) + x,
        detection_score=None if whole else 0.987654321,
        expression=expression,
        probability=0.7,
        probabilities={"neutral": 0.1, "happiness": 0.7, "contempt": 0.2},
        embedding=embedding,
    )


WARNING = "1 of 2 faces was left out: the landmarks all lie on one point"
FOUND = [
    Recognition("two.jpg", 640, 480, [face(1), face(50)]),
    Recognition("none.jpg", 64, 48, []),
    Recognition('odd, "name"\n.jpg', None, None, [], PictureError("'odd' is empty; copy it again")),
    Recognition(Path("whole.png"), 48, 48, [face(whole=True, expression=None)]),
    Recognition("caf\udce9.jpg", 48, 48, [face()]),
    Recognition("some.jpg", 48, 48, [face()], warning=WARNING),
    Recognition("all.jpg", 48, 48, [], warning=WARNING),
]


def write(form: str, path: Path, found: list[Recognition] = FOUND, **options: Any) -> Path:
    sink = open_sink(form, path, NAMES, **options)
    for recognition in found:
        sink.write(recognition)
    sink.close()
    return path


def test_json_lines_have_one_object_per_input(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in write("jsonl", tmp_path / "o.jsonl").read_text("utf-8").splitlines()]
    assert lines == [found.to_dict() for found in FOUND]
    assert [len(line["faces"]) for line in lines] == [2, 0, 0, 1, 1, 1, 0]
    assert [line["warning"] for line in lines] == [None] * 5 + [WARNING] * 2
    assert lines[2] == {
        **{"source": 'odd, "name"\n.jpg', "width": None, "height": None, "faces": []},
        "error": "'odd' is empty; copy it again",
        "warning": None,
    }


def test_csv_has_one_row_per_face_and_one_per_bad_input_or_picture_whose_faces_were_left_out(tmp_path: Path) -> None:
    text = write("csv", tmp_path / "o.csv").read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == columns(NAMES)
    assert [(row["source"], row["face"]) for row in rows] == [
        *(("two.jpg", "1"), ("two.jpg", "2"), ('odd, "name"\n.jpg', ""), ("whole.png", "1"), ("caf\\udce9.jpg", "1")),
        *(("some.jpg", "1"), ("all.jpg", "")),
    ]
    first, _, bad, whole, *_ = rows
    assert [row["warning"] for row in rows] == [""] * 5 + [WARNING] * 2
    assert (first["width"], first["x2"], first["nose_x"], first["nose_y"]) == ("640", "31.123", "5.0", "6.0")
    assert (first["detection_score"], first["expression"], first["p_contempt"]) == ("0.987654", "happiness", "0.2")
    assert bad["error"] == "'odd' is empty; copy it again"
    assert {value for name, value in bad.items() if name not in ("source", "error")} == {""}
    assert (whole["left_eye_x"], whole["detection_score"], whole["expression"], whole["probability"]) == (
        *("", "", "", "0.7"),
    )


def test_parquet_has_the_rows_of_csv_with_types(tmp_path: Path) -> None:
    table = pq.read_table(write("parquet", tmp_path / "o.parquet"))
    assert table.column_names == columns(NAMES)
    assert [str(table.schema.field(name).type) for name in ("source", "face", "width", "x1", "p_neutral", "error")] == [
        *("string", "int32", "int32", "double", "double", "string"),
    ]
    rows = table.to_pylist()
    assert [row["face"] for row in rows] == [1, 2, None, 1, 1, 1, None]
    assert [row["warning"] for row in rows] == [None] * 5 + [WARNING] * 2
    assert rows[0]["x2"] == 31.123
    assert rows[2]["error"] == "'odd' is empty; copy it again"
    assert rows[3]["nose_x"] is None
    assert rows[4]["source"] == "caf\\udce9.jpg"


def test_parquet_streams_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apvit.recognition.sinks.ROW_GROUP", 4)
    path = write("parquet", tmp_path / "o.parquet", [Recognition(f"{i}.jpg", 9, 9, [face()]) for i in range(10)])
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [4, 4, 2]
    assert file.read().column("source").to_pylist() == [f"{i}.jpg" for i in range(10)]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_no_input_gives_a_valid_empty_file(tmp_path: Path, form: str) -> None:
    path = write(form, tmp_path / "o", [])
    if form == "parquet":
        assert pq.read_table(path).num_rows == 0
    else:
        assert path.read_text("utf-8") == ("" if form == "jsonl" else ",".join(columns(NAMES)) + "\n")


def test_embeddings(tmp_path: Path) -> None:
    found = [Recognition("a", 9, 9, [face(embedding=[0.5, 0.25])]), FOUND[2]]
    lines = write("jsonl", tmp_path / "o.jsonl", found, embeddings=True).read_text().splitlines()
    assert json.loads(lines[0])["faces"][0]["embedding"] == [0.5, 0.25]
    table = pq.read_table(write("parquet", tmp_path / "o.parquet", found, embeddings=True))
    assert table.column("embedding").to_pylist() == [[0.5, 0.25], None]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_the_file_gets_its_name_when_it_is_complete(tmp_path: Path, form: str) -> None:
    path = tmp_path / "o"
    path.write_text("an earlier run's")
    sink = open_sink(form, path, NAMES)
    sink.write(FOUND[0])
    assert path.read_text() == "an earlier run's"
    sink.close()
    assert path.stat().st_size > 100
    assert [p.name for p in tmp_path.iterdir()] == ["o"]


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_what_ends_early_can_be_read_beside_an_earlier_file(tmp_path: Path, form: str) -> None:
    path = tmp_path / "o"
    path.write_text("an earlier run's")
    whole = write(form, tmp_path / "whole").read_bytes()
    sink = open_sink(form, path, NAMES)
    for recognition in FOUND:
        sink.write(recognition)
    sink.close(whole=False)
    assert path.read_text() == "an earlier run's"
    assert (tmp_path / "o.partial").read_bytes() == whole


def test_json_lines_are_complete_while_the_run_goes_on(tmp_path: Path) -> None:
    sink = JsonlSink(OutputFile(tmp_path / "o"))
    sink.write(FOUND[0])
    assert json.loads((tmp_path / "o.partial").read_text())["source"] == "two.jpg"


def fill(sink: Any) -> None:
    sink.write(FOUND[0])
    sink.close()


def test_a_full_disk_is_an_error_and_gives_no_file(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full, which Linux has")
    for sink_type in (JsonlSink, lambda file: ParquetSink(file, NAMES)):
        (tmp_path / "o.partial").unlink(missing_ok=True)
        (tmp_path / "o.partial").symlink_to(full)
        sink = sink_type(OutputFile(tmp_path / "o"))
        with pytest.raises(OSError, match="No space left"):
            fill(sink)
        assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("form", "output", "embeddings", "message"),
    [
        ("xml", None, False, "unknown format 'xml'; known are table, jsonl, csv, parquet"),
        ("table", "o", False, "a table is for the terminal"),
        ("parquet", None, False, "name an output file"),
        ("csv", None, True, "no column for embeddings"),
        ("csv", ".", False, "is a folder"),
        ("csv", "nowhere/o", False, "does not exist"),
    ],
)
def test_what_does_not_go_together(form: str, output: str | None, embeddings: bool, message: str) -> None:
    with pytest.raises((SinkError, OutputError), match=message):
        check_format(form, output, embeddings=embeddings)
    with pytest.raises((SinkError, OutputError), match=message):
        open_sink(form, output, NAMES, embeddings=embeddings)


def table(found: list[Recognition], encoding: str = "utf-8", **options: Any) -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    sink = TableSink(Console(file=stream, highlight=False, soft_wrap=True, width=80, **options))
    for recognition in found:
        sink.write(recognition)
    sink.close()
    stream.flush()
    return stream.buffer.getvalue().decode(encoding).splitlines()


def test_the_table_has_one_line_per_face_and_aligned_columns() -> None:
    lines = table(FOUND)
    assert lines == [
        "face  expression  probability      picture",
        "   1  happiness   0.70 ███████     two.jpg",
        "   2  happiness   0.70 ███████     two.jpg",
        "   -  no face                      none.jpg",
        "   -  error: 'odd' is empty; copy it again",
        "   1  unsure      0.70 ███████     whole.png",
        "   1  happiness   0.70 ███████     caf\\udce9.jpg",
        "   1  happiness   0.70 ███████     some.jpg",
        "   -  no face                      all.jpg",
    ]


def test_the_table_on_an_ascii_terminal_and_with_hostile_names() -> None:
    lines = table([Recognition("a\x1b[31m[bold]\n.jpg", 9, 9, [face()])], encoding="ascii")
    assert lines[1] == "   1  happiness   0.70 #######     a\\x1b[31m[bold]\\n.jpg"


def test_nothing_is_printed_where_there_is_nothing() -> None:
    assert table([]) == []


def test_the_command_offers_every_format() -> None:
    from typing import get_args, get_type_hints

    from apvit.cli.recognize import recognize

    assert get_args(get_type_hints(recognize)["form"]) == FORMATS
