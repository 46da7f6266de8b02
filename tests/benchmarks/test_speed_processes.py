"""The speed benchmarks on real networks, real pictures and in real processes; small ones. No speed is asserted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import apvit

Script = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def peers(speed: Script) -> ModuleType:
    return speed("peers")


@pytest.mark.slow
def test_exports_stay_in_the_workplace(speed: Script, weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    subjects = speed("subjects")
    before = os.environ["APVIT_CACHE"]
    keep = subjects.no_pooling(weights)
    assert str(keep) == "1:1,1"
    with subjects.workplace(tmp_path) as folder:
        pooled, whole = (subjects.open_engine(weights, "onnx", setting) for setting in (None, keep))
        assert len(list(folder.rglob("*.onnx"))) == 2
    assert os.environ["APVIT_CACHE"] == before
    assert pooled.macs < whole.macs
    x = np.zeros((2, 1, 48, 48), np.float32)
    assert pooled.run(x).patches.shape == (2, 118)
    assert whole.run(x).patches.shape == (2, 144)


def test_every_axis_runs(speed: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its smallest values; those of input size and depth are networks of their own."""
    growth = speed("growth")
    for name, values in {
        "BATCHES": (1, 2),
        "SIDES": (32,),
        "RATES": (0.2, 1.0),
        "DEPTHS": (1,),
        "FACES": (0, 2),
    }.items():
        monkeypatch.setattr(growth, name, values)
    for axis in growth.AXES:
        calls = axis.make(tmp_path, "torch")
        assert calls, axis.title
        for call in calls.values():
            call()


def test_the_pictures_have_the_faces_they_are_said_to(peers: ModuleType, tmp_path: Path) -> None:
    recognizer = apvit.Recognizer("apvit_tiny", engine="torch", device="cpu")
    for path, faces in peers.write_pictures(tmp_path):
        assert len(recognizer(path)) == faces, path.name


def test_one_that_fails_says_why_and_is_started_once(peers: ModuleType, tmp_path: Path) -> None:
    loop = f"import sys; sys.path.insert(0, {str(peers.HERE)!r}); from peer_loop import run; "
    works = loop + "seconds, *pictures = sys.argv[1:]; run(lambda path: len(path) % 10, pictures, float(seconds))"
    fails = f"open({str(tmp_path / 'starts')!r}, 'a').write('x'); raise SystemExit('no such model')"
    contenders = [
        peers.Contender(name, (sys.executable, "-c", code)) for name, code in (("good", works), ("bad", fails))
    ]
    good, bad = peers.measure(contenders, [Path("a.png"), Path("abcdef.png")], 0.001, 2)
    assert bad == {"name": "bad", "reason": "no such model"}
    assert (tmp_path / "starts").read_text() == "x"
    assert good["faces"] == {"a": 5, "abcdef": 0}
    assert good["cold_seconds"]["median"] > 0
    assert good["peak_mib"] > 1
    record = {"true_faces": {"a": 5, "abcdef": 1}, "contenders": [good, bad]}
    assert "| 5 of 6 " in peers.peers_table(record)
    assert "does not run here" in peers.peers_table(record)


class TestMemory:
    def test_a_process_does_not_count_the_memory_of_the_one_that_started_it(self, speed: Script) -> None:
        here = speed("records").HERE
        code = (
            "import subprocess, sys; from resident import peak_bytes; held = bytearray(300_000_000); "
            "print(peak_bytes(), subprocess.check_output([sys.executable, '-c', "
            "'from resident import peak_bytes; print(peak_bytes())'], text=True))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=here)
        parent, child = map(int, done.stdout.split())
        assert parent > 300_000_000
        if Path("/proc/self/status").exists():
            assert child < 100_000_000

    @pytest.mark.parametrize(
        "arguments",
        [
            ("nothing",),
            pytest.param(("network", "{weights}", "official", "1"), marks=pytest.mark.slow),
            ("network", "{weights}", "torch", "1"),
            ("apvit", "models"),
        ],
    )
    def test_every_kind_of_process(self, arguments: tuple[str, ...], speed: Script, weights: Path) -> None:
        row = speed("memory").measure("it", *(one.format(weights=weights) for one in arguments))
        assert row["what"] == "it"
        assert 5 < row["peak_mib"] < 5000

    def test_a_command_that_fails_is_no_figure(self, speed: Script) -> None:
        memory = speed("memory")
        with pytest.raises(ValueError, match="nowhere"):
            memory.measure("it", "apvit", "recognize", "nowhere/at/all.jpg", "--weights", "nowhere.safetensors")
