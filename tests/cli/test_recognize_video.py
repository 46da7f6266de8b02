"""`apvit recognize clip.mp4` from end to end: real decoding and detection, a network that classifies at random."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.recognition.clips import scene, write_clip

from apvit.cli import main


@pytest.fixture
def folder(photographs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """clip.mp4 (20 frames, one face, sound); the working directory."""
    write_clip(
        tmp_path / "clip.mp4", scene(photographs["grace_hopper"], [(20 + i, 136) for i in range(20)]), sound=True
    )
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


def test_everything_at_once_and_again_from_the_table(run, folder: Path) -> None:
    files = ("--summary", "s.json", "--intervals", "i.tsv", "--subtitles", "s.srt", "--timeline", "t.png")
    files += ("--save-video", "v.mp4")
    status, out, err = run("clip.mp4", "--format", "jsonl", "-o", "t.jsonl", *files)
    assert (status, out) == (0, "")
    assert "20 frames with 20 faces" in err
    assert "results in t.jsonl; summary in s.json; intervals in i.tsv; subtitles in s.srt; timeline in t.png; " in err
    assert "; video in v.mp4" in err
    lines = [json.loads(line) for line in Path("t.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(20))
    assert {face["track"] for line in lines for face in line["faces"]} == {1}
    (track,) = json.loads(Path("s.json").read_text())["tracks"]
    assert track["seconds"] == pytest.approx(0.8)
    assert sum(track["share"].values()) == pytest.approx(1, abs=1e-3)
    with av.open("v.mp4") as file:
        assert (file.streams.video[0].codec_context.name, len(file.streams.audio)) == ("h264", 1)
        assert sum(1 for _ in file.decode(video=0)) == 20
    first = {name: Path(name).read_bytes() for name in files[1::2] if not name.endswith("mp4")}
    assert not list(Path().glob("*.unfinished*"))
    assert not list(Path().glob("*.partial"))

    status, out, err = run("clip.mp4", "--from-table", "t.jsonl", *files, "--format", "parquet", "-o", "t.parquet")
    assert status == 0
    assert "20 frames from t.jsonl" in err
    assert {name: Path(name).read_bytes() for name in first} == first
    assert pq.read_table("t.parquet").column("frame").to_pylist() == list(range(20))


def test_the_table_for_people(run, folder: Path) -> None:
    status, out, _ = run("clip.mp4", "--every", "5")
    assert status == 0
    heading, line = out.splitlines()
    assert heading.split() == ["track", "from", "to", "seen", "changes", "expressions"]
    assert line.split()[:4] == ["1", "0:00.0", "0:00.8", "0.8"]
    assert "%" in line
    write_clip(Path("empty.mp4"), scene(None, [(0, 0)] * 3))
    assert run("empty.mp4")[1] == "no face was found\n"


def test_lines_to_follow(run, folder: Path) -> None:
    status, out, _ = run("clip.mp4", "--format", "jsonl", "--every", "0.2s")
    assert status == 0
    assert [json.loads(line)["frame"] for line in out.splitlines()] == [0, 5, 10, 15]
    assert run("clip.mp4", "--format", "csv", "--every", "10")[1].splitlines()[0].startswith("source,frame,time,")
    assert sorted(path.name for path in folder.iterdir()) == ["clip.mp4"]


def test_an_early_end_keeps_what_came_before(run, folder: Path) -> None:
    write_clip(Path("long.mkv"), [picture for picture in scene(None, [(0, 0)]) for _ in range(200)])
    content = Path("long.mkv").read_bytes()
    Path("long.mkv").write_bytes(content[: len(content) * 2 // 3])
    status, _, err = run("long.mkv", "--format", "csv", "-o", "t.csv", "--every", "20", "--subtitles", "s.srt")
    assert status == 1
    assert "error: the video long.mkv " in err
    assert "truncated" in err or "stopped" in err
    assert 3 < len(Path("t.csv").read_text().splitlines()) < 11
    assert Path("s.srt").exists()
    assert len(list(folder.glob("*.unfinished*"))) == 0


def test_what_cannot_be_rendered_costs_neither_the_table_nor_the_rest(run, folder: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, most))  # room for a table of two frames, none for a video
    try:
        status, out, err = run("clip.mp4", "--every", "10", "--save-video", "v.mp4", "--summary", "s.json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert status == 1
    assert len(out.splitlines()) == 2
    assert "error: the video cannot be written: " in err
    assert "v.mp4.table.jsonl: --from-table v.mp4.table.jsonl makes the rest from it" in err
    assert "video in v.mp4" not in err
    assert json.loads(Path("s.json").read_text())["frames"] == 2
    assert run("clip.mp4", "--from-table", "v.mp4.table.jsonl", "--save-video", "v.mp4")[0] == 0
    assert sorted(path.name for path in folder.iterdir()) == ["clip.mp4", "s.json", "v.mp4", "v.mp4.table.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("clip.mp4", "--every", "0"), "a number of frames (5) or of seconds (0.2s)"),
        (("clip.mp4", "--save-video", "a.avi"), "must end in .mp4"),
        (("clip.mp4", "--save-video", "clip.mp4"), "clip.mp4 is named twice"),
        (("clip.mp4", "--subtitles", "no/a.srt"), "does not exist; make it first"),
        (("clip.mp4", "--timeline", "."), "is a folder; name a file"),
        (("clip.mp4", "--intervals", "i.eaf"), "must end in .csv, .tsv or .TextGrid"),
        (("clip.mp4", "--save-dir", "out", "--save-video", "v.mp4"), "--save-dir FOLDER has files for each"),
        (("clip.mp4", "clip.mp4", "--timeline", "t.png"), "--save-dir FOLDER has files for each"),
        (("clip.mp4", ".", "--from-table", "t.csv"), "this is for one video"),
        (("clip.mp4", ".", "--subtitles", "s.srt"), "name a FOLDER/ for one of each"),
        (("clip.mp4", ".", "--intervals", "s.TextGrid"), "name a FOLDER/ for one of each"),
        (("clip.mp4", ".", "--every", "0"), "a number of frames (5) or of seconds (0.2s)"),
        (("photo.jpg", "--every", "5"), "this is for videos"),
        (("photo.jpg", "--smooth", "0"), "this is for videos"),
        (("clip.mp4", "--profile"), "this is for pictures"),
        (("clip.mp4", "--from-table", "missing"), "missing"),
        (("nothing.mp4",), "does not exist; check the path"),
    ],
)
def test_what_is_refused(run, folder: Path, arguments: tuple[str, ...], message: str) -> None:
    before = Path("clip.mp4").read_bytes()
    status, _, err = run(*arguments)
    assert status in (1, 2)
    assert message in " ".join(err.replace("│", " ").split())
    assert Path("clip.mp4").read_bytes() == before


def apvit(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", "from apvit.cli import main; main()", "recognize", *map(str, arguments)]


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def wait_for_lines(process: subprocess.Popen[bytes], path: Path, count: int) -> None:
    give_up = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert time.monotonic() < give_up
        assert process.poll() is None
        time.sleep(0.01)


@pytest.fixture
def long_clip(photographs: dict[str, Path], folder: Path) -> Path:
    """long.mp4: 240 frames, one face."""
    places = [(30 + abs(i % 60 - 30), 136) for i in range(240)]
    return write_clip(folder / "long.mp4", scene(photographs["grace_hopper"], places), sound=True)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_killed_run_goes_on_where_it_stopped(long_clip: Path, weights: Path, form: str) -> None:
    options = ("--weights", weights, "--device", "cpu", "--format", form)
    subprocess.run(apvit(long_clip, *options, "-o", "whole"), check=True, capture_output=True)
    killed = subprocess.Popen(apvit(long_clip, *options, "-o", "t"), stderr=subprocess.DEVNULL)
    journal = Path("t.unfinished.jsonl")
    wait_for_lines(killed, journal, 60)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = journal.read_bytes().count(b"\n")
    assert 60 <= done < 240
    assert not Path("t").exists()
    again = subprocess.run(
        apvit(long_clip, *options, "-o", "t", "--subtitles", "t.srt"), check=True, capture_output=True, text=True
    )
    assert f"going on after {done} frames" in again.stderr
    assert not list(Path().glob("*.unfinished*"))
    assert Path("t.srt").stat().st_size > 0
    if form == "parquet":
        one, other = (pq.read_table(name).to_pylist() for name in ("t", "whole"))
    else:
        one, other = lines(Path("t")), lines(Path("whole"))
    assert [row["frame"] for row in one] == [row["frame"] for row in other]
    for a, b in zip(one, other, strict=True):
        if form == "jsonl":
            a, b = a["faces"][0], b["faces"][0]
            np.testing.assert_allclose(a["box"], b["box"], atol=0.1)
        assert a["track"] == b["track"]


@pytest.mark.slow
def test_ctrl_c_leaves_valid_results_and_the_run_goes_on(long_clip: Path, weights: Path) -> None:
    command = apvit(
        *(long_clip, "--weights", weights, "--device", "cpu", "--format", "csv", "-o", "t.csv"),
        *("--save-video", "v.mp4", "--subtitles", "s.srt", "--timeline", "t.png", "--summary", "s.json"),
    )
    files = ("t.csv", "v.mp4", "s.srt", "t.png", "s.json")
    for name in files:
        Path(name).write_text("an earlier run's")
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    wait_for_lines(process, Path("t.csv.unfinished.jsonl"), 50)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    errors = process.stderr.read().decode()
    assert process.wait(120) == 130
    assert errors.splitlines()[-1] == "interrupted"
    assert "results in t.csv.partial; summary in s.json.partial; subtitles in s.srt.partial; " in errors
    assert "the same command goes on from there" in errors
    assert {Path(name).read_text() for name in files} == {"an earlier run's"}
    done = len(Path("t.csv.partial").read_text().splitlines()) - 1
    assert 50 <= done < 240
    with av.open("v.mp4.partial") as file:
        assert sum(1 for _ in file.decode(video=0)) == done
    assert json.loads(Path("s.json.partial").read_text())["frames"] == done
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"going on after {done} frames" in again.stderr
    assert len(Path("t.csv").read_text().splitlines()) == 241
    assert json.loads(Path("s.json").read_text())["frames"] == 240
    assert not [*Path().glob("*.unfinished*"), *Path().glob("*.partial")]


@pytest.mark.slow
def test_a_stream_is_followed_line_by_line(long_clip: Path, weights: Path) -> None:
    process = subprocess.Popen(
        apvit(long_clip, "--weights", weights, "--device", "cpu", "--format", "jsonl"), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    for index in range(20):
        assert json.loads(process.stdout.readline())["frame"] == index
    assert process.poll() is None
    process.stdout.close()
    process.wait(60)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_stays_flat_over_20000_frames(folder: Path, weights: Path) -> None:
    """Peak memory between the 2,000th and the last frame, in a process of its own."""
    ground = next(scene(None, [(0, 0)], (64, 48)))
    write_clip(Path("many.mp4"), (np.roll(ground, i % 64, axis=1) for i in range(20_000)), rate=100)
    code = """
import sys
from apvit.recognition import Recognizer
peaks = {}
for frame in Recognizer(sys.argv[1], device="cpu").video("many.mp4"):
    if frame.index in (2_000, 19_999):
        lines = open("/proc/self/status").read().splitlines()
        peaks[frame.index] = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
print(peaks[19_999] - peaks[2_000])
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code, str(weights)], capture_output=True, text=True, check=True, env=environment
    )
    assert float(result.stdout) < 10  # MiB
