"""`apvit recognize study/`: many videos, with pictures among them, by every way in."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.recognition.clips import scene, write_clip

from apvit.cli import main
from apvit.recognition.video.table import read_table


@pytest.fixture
def study(photographs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Videos of 6 frames (one face, sound), pictures, and what is neither; the working directory."""
    face = write_clip(tmp_path / "a.mp4", scene(photographs["grace_hopper"], [(20, 136)] * 6), sound=True)
    (tmp_path / "sub").mkdir()
    shutil.copy(face, tmp_path / "b")
    shutil.copy(face, tmp_path / "c.jpg")
    shutil.copy(face, tmp_path / "sub/a.mp4")
    shutil.copy(photographs["grace_hopper"], tmp_path / "photo.jpg")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "notes.txt").write_text("a.mp4\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


ALL = ["./a.mp4", "./b", "./broken.mp4", "./c.jpg", "./photo.jpg", "./sub/a.mp4"]


@pytest.fixture
def run(weights: Path, capsysbinary: pytest.CaptureFixture[bytes]):
    def command(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["recognize", *map(str, arguments), "--weights", str(weights), "--device", "cpu", "--every", "2"])
        out, err = capsysbinary.readouterr()
        return stop.value.code or 0, out.decode(), err.decode()  # type: ignore[return-value]

    return command


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def rows_of(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(Path(path).read_text())))


def told(records: list[dict]) -> list[tuple[str, int | None, bool]]:
    return [(record["source"], record.get("frame"), record.get("error") is None) for record in records]


EXPECTED = [
    *(("./a.mp4", 0, True), ("./a.mp4", 2, True), ("./a.mp4", 4, True)),
    *(("./b", 0, True), ("./b", 2, True), ("./b", 4, True)),
    ("./broken.mp4", None, False),
    *(("./c.jpg", 0, True), ("./c.jpg", 2, True), ("./c.jpg", 4, True)),
    ("./photo.jpg", None, True),
    *(("./sub/a.mp4", 0, True), ("./sub/a.mp4", 2, True), ("./sub/a.mp4", 4, True)),
]


@pytest.mark.parametrize("way", ["folder", "names", "pattern", "list"])
def test_every_way_in_takes_videos_and_pictures_by_what_they_are(
    run, study: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(ALL).encode())))
    inputs = {"folder": ["."], "names": ALL, "pattern": ["[abc]*", "photo.jpg", "sub/*"], "list": ["-"]}[way]
    status, out, err = run(*inputs, "--format", "jsonl")
    expected = [(name.removeprefix("./" if way == "pattern" else ""), *rest) for name, *rest in EXPECTED]
    assert (status, told(lines(out))) == (1, expected)
    assert [len(record["faces"]) for record in lines(out)] == [
        int(record.get("error") is None) for record in lines(out)
    ]
    assert err.count("error: ") == 1
    assert "error: the video " in err
    assert "1 picture, 1 face, 5 videos, 12 frames with 12 faces, 1 could not be used in " in err


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_one_table_of_all(run, study: Path, form: str) -> None:
    status, out, err = run(".", "--format", form, "-o", "all")
    assert (status, out) == (1, "")
    assert "; results in all" in err
    if form == "jsonl":
        rows = lines(Path("all").read_text())
    elif form == "csv":
        rows = [{n: v or None for n, v in row.items()} for row in rows_of("all")]
        rows = [{**row, "frame": row["frame"] and int(row["frame"])} for row in rows]
    else:
        rows = pq.read_table("all").to_pylist()
    assert told(rows) == EXPECTED
    if form != "jsonl":
        assert list(rows[0])[:6] == ["source", "frame", "time", "width", "height", "track"]
        photo = next(row for row in rows if row["source"] == "./photo.jpg")
        assert (photo["time"], photo["track"], photo["smoothed_expression"]) == (None, None, None)
        assert photo["expression"] is not None
    assert [(frame.source, frame.index) for frame in read_table("all")] == [
        (source, index) for source, index, _ in EXPECTED if index is not None
    ]
    assert not [path for path in study.iterdir() if "unfinished" in path.name or "partial" in path.name]

    status, out, _ = run("./b", "--from-table", "all", "--timeline", "b.png", "--format", "jsonl")
    assert (status, [record["frame"] for record in lines(out)]) == (0, [0, 2, 4])
    assert "all holds 4 videos, but not b; name it as" in run("b", "--from-table", "all")[2]


def test_rows_of_pictures_alone_stay_as_they_are(run, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, out, err = run("photo.jpg", "sub", "--format", "csv")
    assert out.splitlines()[0].startswith("source,frame,time,")
    shutil.rmtree("sub")
    Path("sub").mkdir()
    _, out, err = run("photo.jpg", "sub", "--format", "csv")
    assert out.splitlines()[0].startswith("source,face,width,")
    assert "no video was among the inputs, so --every changed nothing" in err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"photo.jpg\na.mp4\n")))
    assert run("-", "--format", "csv")[1].splitlines()[0].startswith("source,frame,time,")


def test_a_file_for_each(run, study: Path) -> None:
    status, out, _ = run(
        *(".", "--format", "csv", "-o", "tables/", "--save-dir", "seen", "--subtitles", "text/"),
        *("--intervals", "text/", "--summary", "s.csv"),
    )
    assert (status, out) == (1, "")
    assert sorted(path.name for path in Path("tables").iterdir()) == [
        *("a-2.mp4.csv", "a.mp4.csv", "b.csv", "c.jpg.csv", "pictures.csv"),
    ]
    assert {row["source"] for row in rows_of("tables/a-2.mp4.csv")} == {"./sub/a.mp4"}
    assert {row["source"] for row in rows_of("tables/pictures.csv")} == {"./photo.jpg"}
    assert sorted(path.name for path in Path("text").iterdir()) == sorted(
        f"{name}.{suffix}" for name in ("a-2.mp4", "a.mp4", "b", "c.jpg") for suffix in ("srt", "TextGrid")
    )
    assert sorted(path.name for path in Path("seen").iterdir()) == [
        *("a-2-timeline.png", "a-2.mp4", "a-timeline.png", "a.mp4", "b-timeline.png", "b.mp4", "c-timeline.png"),
        *("c.mp4", "photo.jpg"),
    ]
    with av.open("seen/c.mp4") as file:
        assert sum(1 for _ in file.decode(video=0)) == 6
        assert len(file.streams.audio) == 1
    assert Image.open("seen/b-timeline.png").size[0] == 1800
    summary = rows_of("s.csv")
    assert [(row["source"], row["track"], row["frames"]) for row in summary] == [
        (name, "1", "3") for name in ("./a.mp4", "./b", "./c.jpg", "./sub/a.mp4")
    ]
    before = sorted(path.name for path in study.rglob("*"))
    run(".", "--format", "csv", "-o", "tables", "--save-dir", "seen")  # neither grows nor takes its own results
    assert sorted(path.name for path in study.rglob("*")) == before


def test_tables_for_people_and_stacked_intervals(run, study: Path) -> None:
    status, out, _ = run("a.mp4", "photo.jpg", "sub", "--summary", "s.json", "--intervals", "i.csv")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == [
        "a.mp4",
        "track",
        "1",
        "face",
        "1",
        "sub/a.mp4",
        "track",
        "1",
    ]
    assert [one["source"] for one in json.loads(Path("s.json").read_text())] == ["a.mp4", "sub/a.mp4"]
    assert [row["source"] for row in rows_of("i.csv")] == ["a.mp4", "sub/a.mp4"]


def test_names_that_other_commands_read_are_errors_between_the_others(run, study: Path) -> None:
    Path("list.txt").write_text("a.mp4\n")
    status, out, err = run("list.txt", "s3://bucket/a.jpg", "photo.jpg", "a.mp4", "--format", "jsonl")
    assert status == 1
    assert [record.get("error") is None for record in lines(out)] == [False, False, True, True, True, True]
    assert "error: list.txt is a list, which is read from standard input" in err
    assert (
        "error: s3://bucket/a.jpg is a URI, which only an archive run reads: `apvit recognize INPUT --ray local" in err
    )


def test_a_run_that_was_stopped_goes_on(run, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            if self.tell() == len(self.getvalue()):
                raise KeyboardInterrupt
            return super().read1(size)

    command = ("-", "--format", "jsonl", "-o", "all", "--save-dir", "seen", "--summary", "s.json")
    for names, status in (("photo.jpg\na.mp4\n", 130), ("photo.jpg\na.mp4\nsub/a.mp4\n", 0)):
        stream = (Interrupted if status else io.BytesIO)(names.encode())
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
        code, _, err = run(*command)
        assert code == status
        if status:
            assert "results so far in all.partial; the same command goes on from there" in err
            assert not Path("all").exists()
            assert len(lines(Path("all.partial").read_text())) == 4
            assert len(json.loads(Path("s.json.partial").read_text())) == 1
            assert Path("all.unfinished").is_dir()
            written = Path("seen/a.mp4").stat().st_mtime_ns
        else:
            assert "a.mp4: 3 frames of an earlier run" in err
            assert Path("seen/a.mp4").stat().st_mtime_ns == written
            assert [record["source"] for record in lines(Path("all").read_text())] == [
                *("photo.jpg", "a.mp4", "a.mp4", "a.mp4", "sub/a.mp4", "sub/a.mp4", "sub/a.mp4"),
            ]
            assert len(json.loads(Path("s.json").read_text())) == 2
    assert sorted(path.name for path in Path("seen").iterdir()) == [
        *("a-2-timeline.png", "a-2.mp4", "a-timeline.png", "a.mp4", "photo.jpg"),
    ]
    assert not [path for path in study.iterdir() if "unfinished" in path.name or "partial" in path.name]


def test_a_video_that_is_cut_short_is_told_of_in_the_table(run, study: Path) -> None:
    write_clip(Path("long.mkv"), [picture for picture in scene(None, [(0, 0)]) for _ in range(200)])
    content = Path("long.mkv").read_bytes()
    Path("long.mkv").write_bytes(content[: len(content) * 2 // 3])
    status, out, _ = run("long.mkv", "a.mp4", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 1
    cut = [row for row in rows if row["source"] == "long.mkv"]
    assert ("truncated" in cut[-1]["error"] or "stopped" in cut[-1]["error"], cut[-1]["frame"]) == (True, "")
    assert [row["frame"] for row in rows[-3:]] == ["0", "2", "4"]
    assert rows[-1]["source"] == "a.mp4"


@pytest.mark.slow
@pytest.mark.parametrize("output", ["all.csv", "tables/"])
def test_a_killed_run_goes_on_at_the_video_and_the_frame(
    photographs: dict[str, Path], study: Path, weights: Path, output: str
) -> None:
    places = [(30 + abs(i % 60 - 30), 136) for i in range(150)]
    for name in ("1.mp4", "2.mp4", "3.mp4"):
        write_clip(study / "sub" / name, scene(photographs["grace_hopper"], places))
    command = [
        sys.executable,
        "-c",
        "from apvit.cli import main; main()",
        "recognize",
        "sub",
        "--weights",
        str(weights),
    ]
    command += ["--device", "cpu", "--format", "csv", "-o", output]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    work = Path("tables/.unfinished" if output.endswith("/") else "all.csv.unfinished")
    give_up = time.monotonic() + 120
    while not (
        any("unfinished" not in path.name for path in work.glob("*.jsonl"))  # the first video is done
        and any(path.read_bytes().count(b"\n") > 60 for path in work.glob("*.unfinished.jsonl"))
    ):
        assert time.monotonic() < give_up
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "sub/1.mp4: 150 frames of an earlier run" in again.stderr
    assert "going on after " in again.stderr
    assert f"; results in {output}" in again.stderr
    tables = [Path(output)] if output == "all.csv" else sorted(Path(output).glob("*.csv"))
    frames = [(frame.source, frame.index) for table in tables for frame in read_table(table)]
    assert frames == [
        *((f"sub/{name}", index) for name in ("1.mp4", "2.mp4", "3.mp4") for index in range(150)),
        *(("sub/a.mp4", index) for index in range(6)),
    ]
    assert not work.exists()
