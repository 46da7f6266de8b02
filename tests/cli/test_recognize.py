"""`apvit recognize` from end to end: real detectors and photographs, a network that classifies at random."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from apvit.cli import main
from apvit.recognition import Recognizer


@pytest.fixture
def folder(photographs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures with and without faces, bad ones between them; the working directory."""
    (tmp_path / "sub").mkdir()
    shutil.copy(photographs["astronaut"], tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(photographs["grace_hopper"].read_bytes()[:20_000])
    shutil.copy(photographs["cat"], tmp_path / "c.png")
    (tmp_path / "d.jpg").write_text("no picture")
    shutil.copy(photographs["grace_hopper"], tmp_path / "sub/e.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(weights: Path, capsysbinary: pytest.CaptureFixture[bytes]):
    def command(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["recognize", *map(str, arguments), "--weights", str(weights), "--device", "cpu"])
        out, err = capsysbinary.readouterr()
        return stop.value.code or 0, out.decode(), err.decode()  # type: ignore[return-value]

    return command


def test_json_lines_of_a_folder_with_bad_inputs(run, folder: Path, weights: Path) -> None:
    status, out, err = run(".", "missing.jpg", "--format", "jsonl")
    records = [json.loads(line) for line in out.splitlines()]
    assert status == 1
    assert [(r["source"], len(r["faces"]), r["error"] is None) for r in records] == [
        *(("./a.png", 1, True), ("./b.jpg", 0, False), ("./c.png", 0, True), ("./d.jpg", 0, False)),
        *(("./sub/e.jpg", 1, True), ("missing.jpg", 0, False)),
    ]
    assert [(r["width"], r["height"]) for r in records[:3]] == [(512, 512), (None, None), (451, 300)]
    (expected,) = Recognizer(weights, device="cpu")("a.png")
    (face,) = records[0]["faces"]
    assert list(face) == list(expected.to_dict())
    assert face["box"] == pytest.approx(expected.box, abs=0.01)
    assert face["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
    assert err.count("error: ") == 3
    assert "6 pictures, 2 faces, 3 could not be used" in err


def test_status_is_0_where_every_input_is_good(run, folder: Path) -> None:
    status, out, err = run("a.png", "c.png", "--format", "jsonl")
    assert status == 0
    assert len(out.splitlines()) == 2
    assert "error" not in err


def test_the_table(run, folder: Path) -> None:
    status, out, err = run(".")
    assert status == 1
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["face", "1", "-", "-", "-", "1"]
    assert lines[1].endswith("./a.png")
    assert "b.jpg' is truncated" in lines[2]
    assert "no face" in lines[3]
    assert "d.jpg'" in lines[4]
    assert len(err.splitlines()) == 1


def test_csv_and_parquet_files_hold_the_same_rows(run, folder: Path) -> None:
    assert run(".", "--format", "csv", "--output", "o.csv")[:2] == (1, "")
    status, out, err = run(".", "--format", "parquet", "-o", "o.parquet")
    assert (status, out) == (1, "")
    assert "results in o.parquet" in err
    rows = list(csv.DictReader(io.StringIO(Path("o.csv").read_text())))
    table = pq.read_table("o.parquet").to_pylist()
    assert [row["source"] for row in rows] == ["./a.png", "./b.jpg", "./d.jpg", "./sub/e.jpg"]
    for row, typed in zip(rows, table, strict=True):
        assert row == {name: "" if value is None else str(value) for name, value in typed.items()}
    assert not list(Path(".").glob("*.partial"))


def test_a_list_on_standard_input(run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = io.TextIOWrapper(io.BytesIO(b"sub/e.jpg\nc.png\n"))
    monkeypatch.setattr(sys, "stdin", lines)
    status, out, _ = run("-", "--format", "jsonl")
    assert status == 0
    assert [json.loads(line)["source"] for line in out.splitlines()] == ["sub/e.jpg", "c.png"]


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (b"\xef\xbb\xbfsub/e.jpg\r\n# the cat\r\nc.png\r\n", ()),
        ("\ufeffsub/e.jpg\r\nc.png\r\n".encode("utf-16-le"), ()),
        (b"sub/e.jpg\0c.png\0", ("--null",)),
    ],
    ids=["UTF-8 with a mark, as from Excel", "UTF-16, as from PowerShell", "find -print0"],
)
def test_lists_as_other_programs_write_them(
    run, folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, options: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    status, out, _ = run("-", "--format", "jsonl", *options)
    assert status == 0
    assert [json.loads(line)["source"] for line in out.splitlines()] == ["sub/e.jpg", "c.png"]


def test_patterns_and_an_empty_folder(run, folder: Path) -> None:
    Path("empty").mkdir()
    status, out, err = run("**/*.jpg", "empty", "--format", "jsonl")
    assert [json.loads(line)["source"] for line in out.splitlines()] == ["b.jpg", "d.jpg", "sub/e.jpg"]
    assert status == 1
    assert "warning: no pictures or videos in the folder empty" in err
    assert run("empty")[0] == 0


def test_annotated_pictures_of_what_could_be_read(run, folder: Path) -> None:
    shutil.copy("sub/e.jpg", "e.jpg")
    status, _, err = run(".", "--save-dir", "new/out", "--show-pooling")
    assert status == 1
    assert "annotated pictures in new/out" in err
    assert sorted(p.name for p in Path("new/out").iterdir()) == ["a.png", "c.png", "e-2.jpg", "e.jpg"]
    annotated = np.asarray(Image.open("new/out/a.png"))
    assert annotated.shape == (640, 640, 3)
    plain = np.asarray(Image.open("a.png").convert("RGB").resize((640, 640), Image.Resampling.BICUBIC))
    assert 0.01 < (annotated != plain).any(axis=2).mean() < 0.3
    run(".", "--save-dir", "new/out")  # neither grows nor takes its own results for input
    assert len(list(Path("new/out").iterdir())) == 4


def test_which_faces(run, folder: Path) -> None:
    photo = Image.open("sub/e.jpg").convert("RGB")
    pair = Image.new("RGB", (800, 600))
    pair.paste(photo, (0, 0))
    pair.paste(photo.resize((256, 300)), (520, 0))
    pair.save("pair.png")

    def count(*options: str) -> int:
        return len(json.loads(run("pair.png", "--format", "jsonl", *options)[1])["faces"])

    assert [count(), count("--max-faces", "1"), count("--min-face", "150"), count("--min-detection", "1")] == [
        2,
        1,
        1,
        0,
    ]
    (whole,) = json.loads(run("pair.png", "--format", "jsonl", "--detector", "none")[1])["faces"]
    assert (whole["box"], whole["landmarks"], whole["detection_score"]) == ([0, 0, 800, 600], None, None)


def test_unsure_faces(run, folder: Path) -> None:
    """Null in JSON, empty in CSV, "unsure" for people; the probabilities stay."""
    (face,) = json.loads(run("a.png", "--format", "jsonl", "--min-probability", "1")[1])["faces"]
    (sure,) = json.loads(run("a.png", "--format", "jsonl", "--min-probability", "0")[1])["faces"]
    assert face["expression"] is None
    assert sure["expression"] is not None
    assert face["probabilities"] == sure["probabilities"]
    (row,) = csv.DictReader(io.StringIO(run("a.png", "--format", "csv", "--min-probability", "1")[1]))
    assert row["expression"] == ""
    assert float(row["probability"]) == face["probability"]
    _, out, _ = run("a.png", "--min-probability", "1", "--save-dir", "annotated")
    assert out.splitlines()[1].split()[:2] == ["1", "unsure"]
    assert Path("annotated/a.png").is_file()


def test_embeddings(run, folder: Path) -> None:
    _, out, _ = run("a.png", "--format", "jsonl", "--embeddings")
    assert len(json.loads(out)["faces"][0]["embedding"]) == 32


def test_profile_and_workers(run, folder: Path) -> None:
    status, out, err = run(".", "--format", "jsonl", "--workers", "2", "--profile")
    assert status == 1
    lines = err.splitlines()
    table = lines[next(i for i, line in enumerate(lines) if line.startswith("stage")) :]
    assert [line.split()[0] for line in table[1:7]] == ["sources", "read", "detect", "align", "classify", "results"]
    assert table[7].startswith("5 pictures, 2 faces in ")
    assert len(table) == 9
    alone = run(".", "--format", "jsonl", "--workers", "1")
    assert "stage" not in alone[2]
    assert out == alone[1]


def bad_pictures(good: Path) -> dict[str, bytes]:
    """Names and contents that cannot be a picture."""
    jpeg = io.BytesIO()
    Image.open(good).convert("RGB").save(jpeg, "JPEG")
    bomb = io.BytesIO()
    Image.new("1", (1, 1)).save(bomb, "BMP")
    huge = bytearray(bomb.getvalue())
    huge[18:26] = (60_000).to_bytes(4, "little") * 2
    return {
        **{"empty.png": b"", "text.jpg": b"hello", "truncated.png": good.read_bytes()[:5000]},
        **{"cut.jpg": jpeg.getvalue()[:3000], "header.gif": b"GIF89a", "huge.bmp": bytes(huge)},
        **{"pickle.png": b"\x80\x04\x95.", "zeros.tif": bytes(1000)},
    }


def test_bad_input_of_every_kind_is_one_sentence_and_costs_nothing_else(run, folder: Path) -> None:
    bad = bad_pictures(Path("a.png"))
    names = []
    for name, content in bad.items():
        Path(name).write_bytes(content)
        os.link("a.png", f"good-{name}.png")
        names += [name, f"good-{name}.png"]
    status, out, err = run(*names, "sub", "\0", "--format", "jsonl")
    records = [json.loads(line) for line in out.splitlines()]
    assert status == 1
    assert [r["source"] for r in records] == [*names, "sub/e.jpg", "\0"]
    for record in (*records[:-2:2], records[-1]):
        assert (record["faces"], record["width"]) == ([], None), record["source"]
        assert len(record["error"].splitlines()) == 1
        assert ";" in record["error"]  # what is wrong; what to do
    for record in (*records[1:-2:2], records[-2]):
        assert len(record["faces"]) == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"])
def test_pictures_of_every_mode(run, folder: Path, mode: str) -> None:
    photo = Image.open("sub/e.jpg").convert("RGB")
    if mode in ("I;16", "I"):
        image = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257).convert(mode)
    else:
        image = photo.convert("L").convert(mode) if mode in ("LA", "F") else photo.convert(mode)
    image.save("mode.tif")
    status, out, _ = run("mode.tif", "--format", "jsonl")
    assert status == 0
    assert len(json.loads(out)["faces"]) == 1


def test_the_first_frame_of_an_animation(run, folder: Path) -> None:
    photo = Image.open("sub/e.jpg").convert("RGB")
    photo.save("moving.gif", save_all=True, append_images=[Image.new("RGB", photo.size)] * 2)
    status, out, _ = run("moving.gif", "--format", "jsonl")
    assert status == 0
    assert len(json.loads(out)["faces"]) == 1


def apvit(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", "from apvit.cli import main; main()", "recognize", *map(str, arguments)]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_ctrl_c_keeps_what_is_done_beside_an_earlier_output(folder: Path, weights: Path, form: str) -> None:
    Path("o").write_text("an earlier run's")
    names = [link for number in range(2000) for link in (f"{number}.png", f"{number}.jpg")]
    for name in names:
        os.link("a.png" if name.endswith("png") else "sub/e.jpg", name)
    process = subprocess.Popen(
        apvit("-", "--weights", weights, "--device", "cpu", "--format", form, "--output", "o", "--save-dir", "out"),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write("\n".join(names).encode())
    process.stdin.close()
    give_up = time.monotonic() + 60
    while len(list(Path("out").glob("*"))) < 5:
        assert time.monotonic() < give_up
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    errors = process.stderr.read().decode()
    assert process.wait(60) == 130
    assert errors.splitlines()[-1] == "interrupted"
    assert "; results so far in o.partial, o is an earlier run's; " in errors
    assert Path("o").read_text() == "an earlier run's"
    if form == "jsonl":
        sources = [json.loads(line)["source"] for line in Path("o.partial").read_text().splitlines()]
    else:
        sources = pq.read_table("o.partial").column("source").to_pylist()
    assert 5 <= len(sources) < 4000
    assert sources == names[: len(sources)]
    assert len(sources) == len(list(Path("out").iterdir()))
    assert f"{len(sources)} pictures" in errors
    assert list(Path(".").rglob("*.partial")) == [Path("o.partial")]


def test_ctrl_c_before_the_first_result_leaves_an_older_output(folder: Path, weights: Path) -> None:
    Path("o").write_text("an earlier run's")
    process = subprocess.Popen(
        apvit("-", "--weights", weights, "--device", "cpu", "--format", "jsonl", "--output", "o", "--save-dir", "out"),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    give_up = time.monotonic() + 60
    while not Path("out").exists():  # made when the network is loaded, before the list is read
        assert time.monotonic() < give_up
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert Path("o").read_text() == "an earlier run's"
    assert not list(Path(".").glob("*.partial"))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """As if the disk were full for files of more bytes."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def test_a_run_that_fails_keeps_what_is_done_and_a_complete_one_takes_its_place(run, folder: Path) -> None:
    command = ("sub", "a.png", "--format", "jsonl", "-o", "o")
    line = run("sub", "--format", "jsonl")[1]
    with largest_file(len(line) + 10):
        status, _, err = run(*command)
    assert status == 1
    first, last = err.splitlines()
    assert first.startswith("1 picture, 1 face in ")
    assert first.endswith("; results so far in o.partial")
    assert last == "error: File too large: o.partial"
    assert Path("o.partial").read_text().startswith(line)
    assert not Path("o").exists()
    assert run(*command)[0] == 0
    assert [json.loads(line)["source"] for line in Path("o").read_text().splitlines()] == ["sub/e.jpg", "a.png"]
    assert not Path("o.partial").exists()


def test_an_annotated_copy_that_cannot_be_written_is_one_line(run, folder: Path) -> None:
    with largest_file(20_000):  # room for results, none for an annotated picture
        status, _, err = run("sub", "a.png", "--format", "jsonl", "-o", "o", "--save-dir", "out")
    assert status == 1
    *errors, last = err.splitlines()
    assert errors == [
        f"error: the annotated copy of {name} cannot be written: File too large" for name in ("sub/e.jpg", "a.png")
    ]
    assert last.startswith("2 pictures, 2 faces, 2 without an annotated copy in ")
    assert [json.loads(line)["source"] for line in Path("o").read_text().splitlines()] == ["sub/e.jpg", "a.png"]
    assert list(Path("out").iterdir()) == []


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_the_longest_names_are_annotated(run, folder: Path, suffix: str) -> None:
    names = ["n" * (255 - len(suffix)) + suffix, "é" * 120 + suffix]
    for place in ("x", "y"):
        Path(place).mkdir()
        for name in names:
            Image.open("a.png").convert("RGB").save(Path(place, name))
    status, _, err = run("x", "y", "--format", "jsonl", "-o", "o", "--save-dir", "out")
    assert status == 0, err
    assert len(list(Path("out").iterdir())) == 4


def test_a_closed_pipe_ends_quietly(folder: Path, weights: Path) -> None:
    names = [f"{number}.png" for number in range(200)]
    for name in names:
        os.link("c.png", name)
    process = subprocess.Popen(
        apvit(*names, "--weights", weights, "--device", "cpu", "--format", "jsonl"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["source"] == "0.png"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 1


def test_names_that_are_no_unicode(folder: Path, weights: Path) -> None:
    if sys.platform == "darwin":
        pytest.skip("macOS refuses such names")
    name = b"caf\xe9.png"
    shutil.copy(b"c.png", name)
    for form in ("jsonl", "csv", "table"):
        done = subprocess.run(
            [*apvit("--weights", weights, "--device", "cpu", "--format", form), name],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": "ascii"} if form == "table" else None,
            check=True,
        )
        if form == "jsonl":
            assert os.fsencode(json.loads(done.stdout)["source"]) == name
        assert b"Traceback" not in done.stderr
