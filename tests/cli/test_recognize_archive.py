"""`apvit recognize --ray`: what is refused before any work. What it does is in tests/recognition/test_archive*.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from apvit.cli import main


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    Path("in").mkdir()
    Image.new("RGB", (48, 48)).save("in/a.png")

    def command(*arguments: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as stop:
            main(["recognize", *arguments])
        return stop.value.code, capfd.readouterr().err

    return command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in", "--ray", "local"], "add --output FOLDER"),
        (["in", "--ray", "local", "-o", "out", "--format", "csv"], "Parquet files, not csv"),
        (["in", "--ray", "local", "-o", "out", "--save-dir", "x"], "--save-dir: this does not go together with --ray"),
        (["in", "--ray", "local", "-o", "out", "--timeline", "x.png"], "--timeline: this does not go together with"),
        (["-", "--ray", "local", "-o", "out"], "save it as a .txt file"),
    ],
)
def test_options_that_do_not_go_together(run, arguments: list[str], message: str) -> None:
    status, err = run(*arguments)
    assert status == 2
    assert message in " ".join(err.split())
    assert not Path("out").exists()


def test_without_ray_the_extra_is_named(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    status, err = run("in", "--ray", "local", "--output", "out")
    assert (status, err) == (1, "error: an archive needs Ray: pip install 'apvit[archive]'\n")
    assert not Path("out").exists()


def test_inputs_without_a_picture(run) -> None:
    status, err = run("missing.txt", "--ray", "local", "--output", "out")
    assert status == 1
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
