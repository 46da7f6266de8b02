"""The command as a whole: help without torch, versions, errors in one line, exit statuses."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import typer

import apvit
from apvit import cli

HEAVY = ("torch", "lightning", "yaml", "pyarrow", "cv2", "PIL", "numpy", "matplotlib")


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err  # type: ignore[return-value]


@pytest.mark.parametrize("arguments", [["--help"], ["recognize", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from apvit.cli import main
try:
    main({arguments!r})
except SystemExit as stop:
    assert not stop.code, stop.code
sys.exit(", ".join(name for name in {HEAVY!r} if name in sys.modules) or 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"], capsys) == (0, f"apvit {apvit.__version__}\n", "")


COMMANDS = (
    "recognize",
    "models",
    "data",
    "train",
    "evaluate",
    "robustness",
    "calibrate",
    "convert",
    "export",
    "explain",
    "tune",
    "benchmark",
    "doctor",
    "serve",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, everything, _ = run(["--help"], capsys)
    assert f" {command} " in everything
    status, out, _ = run([command, "--help"], capsys)
    assert status == 0
    assert len(out.splitlines()) > 5


def test_help_fits_the_terminal_and_names_no_type_of_python(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in ([], ["data", "prepare"], ["data", "verify"], *([name] for name in COMMANDS)):
        _, out, _ = run([*command, "--help"], capsys)
        assert not re.search(r"<(str|int|float|bool|path|file|directory|int range|float range|list\[.*)>", out), out
        prose = out.partition("╭")[0].splitlines()[3:]  # after the usage
        for line, following in pairwise(line.strip() for line in prose):
            if line and following:  # a line ends where the next word would not have fitted
                assert len(line) + 1 + len(following.split()[0]) > 78, out


@pytest.mark.parametrize(
    "arguments",
    [
        *(["nonsense"], ["recognize"], ["recognize", "a.jpg", "--format", "xml"], ["recognize", "a.jpg", "--nonsense"]),
        ["recognize", "a.jpg", "--format", "parquet"],
        ["recognize", "a.jpg", "--output", "o.txt"],
        ["recognize", "a.jpg", "--format", "csv", "--output", "nowhere/o.csv"],
        ["recognize", "a.jpg", "--format", "csv", "--embeddings"],
        ["recognize", "a.jpg", "--show-pooling"],
        ["recognize", "folder", "--save-dir", "folder"],
        ["recognize", "a.jpg", "--max-faces", "0"],
        ["recognize", "a.jpg", "--min-detection", "7"],
        ["recognize", "a.jpg", "--min-probability", "7"],
    ],
)
def test_what_is_not_understood_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(arguments, capsys)
    assert (status, out) == (2, "")
    assert "Usage" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recognize", "a.jpg", "--weights", "nobody"], "error: no weights 'nobody': there is no such file"),
        (["recognize", "a.jpg", "--engine", "steam"], "error: unknown engine 'steam'"),
        (["recognize", "a.jpg", "--device", "abacus"], "abacus"),
    ],
)
def test_an_error_is_one_line_and_debug_shows_where(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(arguments, capsys)
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1
    for debugging in ([*arguments, "--debug"], ["--debug", *arguments]):
        with pytest.raises(ValueError):
            cli.main(debugging)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recognise", "a.jpg"], "Did you mean 'recognize'?"),
        (["data", "prepar"], "Did you mean 'prepare'?"),
        (["recognize", "a.jpg", "--weigths", "w"], "--weights"),
        (["recognize", "a.jpg", "--detector", "mtcn"], "'mtcn' is not one of 'mtcnn', 'yunet', 'none'"),
        (["train", "--lr", "1"], "--learning-rate"),
        (["train", "--architecture", "apvit_tinny"], "(did you mean 'apvit_tiny'?)"),
        (["recognize", "a.jpg", "--weights", "apvit_tinny"], "(did you mean 'apvit_tiny'?)"),
        (["recognize", "a.jpg", "--engine", "onx"], "(did you mean 'onnx'?)"),
        (["data", "verify", "ferpluss", "."], "(did you mean 'ferplus'?)"),
    ],
)
def test_what_is_misspelled_names_what_was_meant(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    status, _, err = run(arguments, capsys)
    assert status in (1, 2)
    assert message in err
    assert "Value error" not in err


def test_a_name_that_begins_with_a_hyphen_stands_behind_two(
    photographs: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-x.jpg").write_bytes(photographs["grace_hopper"].read_bytes())
    status, _, err = run(["recognize", "--format", "jsonl", "--", "-x.jpg"], capsys)
    assert status == 0
    assert err.startswith("1 picture, 1 face in ")


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["recognize", "a.jpg", "--output", "OUT"], "--output"),
        (["recognize", "a.jpg", "--format", "csv", "--output", "OUT"], "--output"),
        (["benchmark", "apvit_tiny", "--json", "OUT"], "--json"),
        (["explain", "a.jpg", "--json", "OUT"], "--json"),
        (["export", "apvit_tiny", "OUT.onnx"], "OUT.onnx"),
        (["convert", "official.pth", "OUT"], "OUT"),
        (["calibrate", "apvit_tiny", "OUT", "--data", "faces.parquet"], "OUT"),
        (["tune", "apvit_tiny", "--data", "d", "--accuracy-loss", "1", "--output", "OUT.safetensors"], "--output"),
    ],
)
def test_a_missing_folder_of_an_output_is_blamed_on_its_option(
    arguments: list[str],
    option: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    arguments = [f"{tmp_path}/nowhere/{word}" if word.startswith("OUT") else word for word in arguments]
    status, _, err = run(arguments, capsys)
    assert status == 2
    assert f"for {option}: the folder {tmp_path}/nowhere of the output does not exist; make it first" in err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\nlines"), "error: two lines"),
        (FileNotFoundError(2, "No such file or directory", "x/y"), "error: No such file or directory: x/y"),
        (OSError("bare"), "error: bare"),
        (ModuleNotFoundError("training needs lightning: pip install 'apvit[train]'"), "error: training needs"),
        (MemoryError(), "error: not enough memory"),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0"),
            "error: not enough memory for 2.00 GiB",
        ),
        (
            RuntimeError("a worker was killed\nby signal 9"),
            "error: this run failed: a worker was killed (--debug shows",
        ),
        (ValueError(), "error: ValueError"),
    ],
)
def test_user_errors_become_a_sentence(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(fail)
    monkeypatch.setattr(cli, "app", app)
    status, _, err = run([], capsys)
    assert (status, len(err.splitlines())) == (1, 1)
    assert err.startswith(line)


@pytest.mark.parametrize("error", [KeyError("ours"), RecursionError("ours"), NotImplementedError("ours")])
def test_a_mistake_of_ours_keeps_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise error

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(fail)
    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(type(error)):
        cli.main([])


def test_interruption_says_so_and_exits_with_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(fail)
    monkeypatch.setattr(cli, "app", app)
    assert run([], capsys) == (130, "", "interrupted\n")


def test_debug_after_a_double_dash_is_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(["recognize", "--weights", "nobody", "--", "--debug"], capsys)
    assert (status, len(err.splitlines())) == (1, 1)


def test_a_name_that_begins_with_a_hyphen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-x.jpg").touch()
    with pytest.raises(SystemExit, match="2"):
        cli.main(["recognize", "-x.jpg"])
    assert "a name that begins with - goes after --: apvit recognize -- -x.jpg" in capsys.readouterr().err


def test_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "apvit", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"apvit {apvit.__version__}\n"
