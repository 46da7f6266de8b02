"""`apvit export --int8` as a user calls it; the float32 export stands in tests/engines/test_exported.py."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apvit.cli import main
from apvit.data import FaceRow, SplitMetadata, write_split
from apvit.engines.exported import OnnxEngine
from apvit.expressions import get_label_space
from apvit.files import sha256

for package in ("onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="needs apvit[export]")


def write(path: Path, split: str, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        buffer = io.BytesIO()
        coarse = random.integers(0, 256, (6, 6)).astype(np.uint8)
        Image.fromarray(np.kron(coarse, np.ones((8, 8), np.uint8))).save(buffer, "PNG")
        rows.append(FaceRow(buffer.getvalue(), f"{split}{i}.png", i % 8, f"{split}{i}"))
    write_split(path, rows, SplitMetadata("ferplus", split, get_label_space("ferplus"), alignment="ferplus-48-v1"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write(folder / "train.parquet", "train", 24, 0)
    write(folder / "valid.parquet", "valid", 16, 1)
    return folder


def run(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in ["export", *arguments]])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_int8(data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "int8.onnx"
    status, printed, said = run([weights, out, "--int8", "--calibrate", data], capsys)
    assert status == 0, said
    assert [path.name for path in tmp_path.iterdir()] == ["int8.onnx"]
    record = json.loads(printed)
    assert record["sha256"] == sha256(weights)
    assert record["proof"][0]["largest_difference"] < 1e-4
    int8 = record["int8"]
    assert int8["calibrated_on"] == {"dataset": "ferplus", "split": "train", "faces": 24}
    for row in int8["engines"].values():
        assert row["faces"] == 16
        assert row["speed_here"] > 0
    words = " ".join(said.split())
    for text in ("float32 stay", "accuracy on 16 faces of ferplus valid", "kept by both", "x the speed of float32"):
        assert text in words
    card = OnnxEngine(out).card
    assert card.metrics[0]["faces"] == 16
    assert card.metrics[0]["engine"] == "onnx"
    assert card.metrics[0]["runtime"]["precision"] == "int8"
    assert OnnxEngine(out).runtime.precision == "int8"
    assert card.provenance["int8"]["engines"]["onnx"]["patches_kept"] == int8["engines"]["onnx"]["patches_kept"]
    assert "speed_here" not in json.dumps(card.provenance)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--int8"], "--int8 and --calibrate D belong together"),
        (["--calibrate", "{data}"], "--int8 and --calibrate D belong together"),
        (["--int8", "--calibrate", "{data}", "--pixels"], "without --pixels"),
        (["--int8", "--calibrate", "{data}/train.parquet"], "give the faces that accuracy is measured on"),
        (["--int8", "--calibrate", "{data}", "--data", "{data}/train.parquet"], "other faces than those calibrated on"),
    ],
)
def test_refusals(
    options: list[str], message: str, data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run([weights, tmp_path / "x.onnx", *(option.format(data=data) for option in options)], capsys)
    assert (status, out) == (2, "")
    assert message in " ".join(err.replace("│", " ").split())
    assert not list(tmp_path.iterdir())


def test_the_cache_holds_no_int8(data: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run([weights, "--int8", "--calibrate", data], capsys)
    assert status == 2
    assert "a file that you name" in " ".join(err.replace("│", " ").split())
