"""Ctrl-C and kill -9: what was there stays whole, what is done is kept or done again.

Training, videos, archives and the service are interrupted beside their own tests, which know what they resume.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

OLD = b"an earlier run's"
RECOGNIZE = "recognize - --weights good.safetensors --device cpu --detector none --format"


@pytest.fixture
def place(bad_inputs: Path, tmp_path: Path) -> Path:
    """Good weights, a face, and the output of an earlier run."""
    for name in ("good.safetensors", "face.png"):
        shutil.copy(bad_inputs / name, tmp_path / name)
    (tmp_path / "old").write_bytes(OLD)
    return tmp_path


def make_dataset(folder: Path, count: int) -> None:
    """Pictures that all differ, in two class folders."""
    for number in range(count):
        place = folder / ("happy", "sad")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 48), (number % 256, number // 256, 9)).save(place / f"{number}.png", compress_level=0)


def stop(place: Path, command: str, started: str, how: signal.Signals) -> tuple[int, str]:
    """Start `apvit`, wait until something that `started` matches stands there, and send the signal."""
    arguments = [sys.executable, "-c", "from apvit.cli import main; main()", *command.split()]
    process = subprocess.Popen(arguments, cwd=place, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"face.png\n" * 5000)  # less than a pipe holds
    process.stdin.close()
    process.stdin = None
    give_up = time.monotonic() + 60
    while not any(place.glob(started)):  # results get a file when there is a first one
        assert process.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.01)
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors.decode()


def read(path: Path, form: str) -> list[str]:
    if form == "parquet":
        sources: list[str] = pq.read_table(path).column("source").to_pylist()
        return sources
    return [json.loads(line)["source"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_kill_9_leaves_an_older_output(place: Path, form: str) -> None:
    status, _ = stop(place, f"{RECOGNIZE} {form} -o old", "old.partial", signal.SIGKILL)
    assert status == -signal.SIGKILL
    assert (place / "old").read_bytes() == OLD


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_ctrl_c_keeps_what_is_done(place: Path, form: str) -> None:
    status, errors = stop(place, f"{RECOGNIZE} {form} -o old", "old.partial", signal.SIGINT)
    assert status == 130
    assert errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors
    assert "results so far in old.partial, old is an earlier run's" in errors
    assert 1 <= len(read(place / "old.partial", form)) < 5000
    assert (place / "old").read_bytes() == OLD


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_dataset_is_prepared_whole_or_again(place: Path, how: signal.Signals) -> None:
    make_dataset(place / "many", 2500)
    command = "data prepare folder many prepared"
    status, errors = stop(place, command, "prepared/.prepare-*", how)
    assert status == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in errors
    assert not list(place.glob("prepared/*.parquet"))
    again = [sys.executable, "-c", "from apvit.cli import main; main()", *command.split()]
    subprocess.run(again, cwd=place, check=True, capture_output=True, timeout=120)
    left = sorted(path.name for path in (place / "prepared").iterdir())
    assert all(name.endswith((".parquet", ".md", ".json")) for name in left), left
    assert sum(pq.read_metadata(path).num_rows for path in place.glob("prepared/*.parquet")) == 2500
