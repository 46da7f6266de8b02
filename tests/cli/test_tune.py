"""`apvit tune` as a user calls it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from apvit import cli
from apvit.cli.tune import milliseconds
from apvit.data import FaceRow, SplitMetadata, write_split
from apvit.expressions import get_label_space
from apvit.weights import read_card


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared validation split of 16 FER+ faces of noise."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(16):
        buffer = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (48, 48), np.uint8)).save(buffer, "PNG")
        rows.append(FaceRow(buffer.getvalue(), f"{i}.png", i % 8, str(i)))
    path = tmp_path_factory.mktemp("data") / "valid.parquet"
    write_split(path, rows, SplitMetadata("ferplus", "valid", get_label_space("ferplus"), alignment="ferplus-48-v1"))
    return path


def run(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_report_output_and_record(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, output = tmp_path / "report", tmp_path / "tuned.safetensors"
    arguments = ["tune", weights, "--data", data, "--accuracy-loss", 1, "--faces", 12, "--resamples", 100]
    status, out, err = run([*arguments, "--report", report, "--output", output, "--device", "cpu"], capsys)
    assert status == 0, err
    record = json.loads(out)
    rows, chosen = record["settings"], record["settings"][record["chosen"]]
    assert (record["split"], record["faces"], record["engine"], record["output"]) == ("valid", 12, "torch", str(output))
    assert chosen["choosing"]["faces"] + chosen["reporting"]["faces"] == 12
    assert chosen["ms"] == min(row["ms"] for row in rows)  # every loss was allowed
    assert rows[0]["keep"] in err
    assert f"chosen: --keep {chosen['keep']}" in err
    assert "note: The setting was chosen on 6 faces" in err
    assert sorted(path.name for path in report.iterdir()) == ["tune.json", "tune.png"]
    written = json.loads((report / "tune.json").read_text())
    assert written["settings"] == rows
    assert len(written["with"]["weights"]["sha256"]) == 64
    card = read_card(output)
    assert card.metrics[0]["faces"] == 6
    assert card.provenance["tuned_from"]["tuned"]["keep"] == chosen["keep"]
    # What was written can be tuned and used like any other.
    status, out, _ = run(["evaluate", "--weights", output, "--data", data, "--resamples", 100], capsys)
    assert (status, json.loads(out)["faces"]) == (0, 16)


@pytest.mark.parametrize(
    ("extra", "status", "message"),
    [
        ([], 2, "give either --budget TIME or --accuracy-loss LOSS"),
        (["--budget", "10ms", "--accuracy-loss", "0.01"], 2, "give either"),
        (["--budget", "10"], 2, "is no time above 0"),
        (["--budget", "10ms", "--output", "out.onnx"], 2, "must end in .safetensors"),
        (["--budget", "0.001us"], 1, "error: no setting recognises a face within 1e-06 ms: the cheapest, "),
        (["--budget", "10ms", "--engine", "auto"], 1, "error: a search runs on one engine, not on 'auto'"),
        (["--budget", "10ms", "--split", "test"], 1, "is the split valid, not test"),
    ],
)
def test_refusals(
    extra: list[str], status: int, message: str, data: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    got, out, err = run(["tune", weights, "--data", data, *extra], capsys)
    assert (got, out) == (status, "")
    assert message in " ".join(err.replace("│", " ").split())


@pytest.mark.parametrize(("text", "ms"), [("10ms", 10), ("0.5s", 500), (".5 s", 500), ("800us", 0.8), (" 2.ms ", 2)])
def test_times(text: str, ms: float) -> None:
    assert milliseconds(text) == pytest.approx(ms)


@pytest.mark.parametrize("text", ["", "10", "ms", "-1ms", "0ms", "1e3ms", "nan ms", "10 min"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        milliseconds(text)
