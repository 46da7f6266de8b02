"""`apvit benchmark` from the command line: what it prints and writes, and what it refuses. No speed is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apvit.cli import main
from apvit.files import sha256


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["benchmark", *arguments])
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err  # type: ignore[return-value]


def test_table_and_file(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    target = tmp_path / "figures.json"
    options = ["--engine", "torch", "--keep", "0.5", "--batch", "1", "--batch", "2", "--seconds", "0.02"]
    status, out, _ = run([str(weights), *options, "--device", "cpu", "--json", str(target)], capsys)
    assert status == 0
    for text in ("ms/face", "quartiles", "faces/s", "x torch", "of peak", "0.5", "card's", "OMP_NUM_THREADS"):
        assert text in out
    assert max(map(len, out.splitlines())) <= 90
    record = json.loads(target.read_text())
    assert record["weights"] == str(weights)
    assert record["sha256"] == sha256(weights)
    assert [one["device"] for one in record["contenders"]] == ["cpu", "cpu"]
    assert {one["runtime"]["precision"] for one in record["contenders"]} == {"float32"}
    assert [(one["name"], one["batch"]) for one in record["timings"]] == [
        ("torch", 1),
        ("torch keep 0.5", 1),
        ("torch", 2),
        ("torch keep 0.5", 2),
    ]
    assert record["machine"]["packages"]["torch"]
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


def test_torch_in_another_precision(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--engine", "torch", "--device", "cpu", "--precision", "bf16", "--batch", "2", "--seconds", "0.02"]
    status, out, err = run([str(weights), *options], capsys)
    assert status == 0, err
    assert "torch bf16" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "torch", "--precision", "fp8"], "error: unknown precision 'fp8'; known are float32, bf16"),
        (["--engine", "onnx", "--compile"], "error: compile and precision are options of torch"),
        (["--engine", "steam"], "error: unknown engine 'steam'; known are torch, onnx, openvino"),
        (["--keep", "eighty"], "error: 'eighty' is no keep setting"),
        (["--engine", "torch", "--keep", "0.5:1,1,1"], "error: keep 0.5:1,1,1 does not fit"),
    ],
)
def test_refusals_are_one_line(
    options: list[str], message: str, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run([str(weights), *options], capsys)
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith(message)


@pytest.mark.parametrize("options", [["--json", "nowhere/x.json"], ["--batch", "0"], ["--seconds", "0"]])
def test_what_is_not_understood(options: list[str], weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run([str(weights), *options], capsys)
    assert (status, out) == (2, "")
    assert "Usage" in err
