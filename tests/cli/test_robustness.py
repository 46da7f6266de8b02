"""`apvit robustness` as a user calls it."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apvit import cli
from apvit.data import FaceRow, SplitMetadata, write_split
from apvit.expressions import get_label_space


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A prepared test split of 12 FER+ faces of noise."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(12):
        buffer = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (48, 48), np.uint8)).save(buffer, "PNG")
        rows.append(FaceRow(buffer.getvalue(), f"FER2013Test/fer00{i:05d}.png", i % 8, str(i)))
    metadata = SplitMetadata("ferplus", "test", get_label_space("ferplus"), alignment="ferplus-48-v1")
    write_split(tmp_path / "test.parquet", rows, metadata)
    return tmp_path / "test.parquet"


@pytest.fixture
def pose(tmp_path: Path) -> Path:
    path = tmp_path / "pose_30_ferplus_list.txt"
    path.write_text("0/fer0000000.jpg\n1/fer0000001.jpg\n5/fer0000002.jpg\n1/fer0000001.jpg")
    return path


def run(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_curves_lists_and_report(data: Path, pose: Path, weights: Path, tmp_path: Path, capsys) -> None:
    second = tmp_path / "second.safetensors"
    shutil.copyfile(weights, second)
    arguments = ["robustness", "--weights", weights, "--weights", second, "--data", data, "--lists", pose]
    arguments += ["--corruption", "eyes", "--corruption", "jpeg", "--faces", 8, "--resamples", 100]
    status, out, err = run([*arguments, "--report", tmp_path / "report", "--device", "cpu"], capsys)
    assert status == 0, err
    record = json.loads(out)
    assert [entry["name"] for entry in record["weights"]] == ["random", "second"]
    assert (record["split"], record["faces"], record["curves"]["faces"]) == ("test", 12, 8)
    assert [panel["name"] for panel in record["curves"]["corruptions"]] == ["eyes", "jpeg"]
    (found,) = record["lists"]
    assert (found["lines"], found["found"], found["scored"], found["disagreements"]) == (4, 4, 4, 1)
    assert found["results"][1]["difference"] == {"accuracy": 0, "interval": [0, 0]}
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "differences.png", "robustness.json", "robustness.md", "robustness.png"
    ]  # fmt: skip
    assert "pose_30_ferplus_list.txt: 4 of 4 lines found" in err


def test_lists_only(data: Path, pose: Path, weights: Path, tmp_path: Path, capsys) -> None:
    arguments = ["robustness", "--weights", weights, "--data", data, "--lists", pose, "--lists-only"]
    status, out, _ = run([*arguments, "--report", tmp_path / "report"], capsys)
    assert status == 0
    assert json.loads(out)["curves"] is None
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["robustness.json", "robustness.md"]


@pytest.mark.parametrize(
    ("extra", "status", "message"),
    [
        (["--corruption", "fog"], 1, "unknown corruption 'fog'"),
        (["--lists-only"], 2, "give --lists FILE with --lists-only"),
        (["--lists", "{pose}", "--lists-only", "--corruption", "eyes"], 2, "exclude each other"),
        (["--weights", "{weights}"], 2, "stand twice"),
        (["--lists", "absent.txt"], 1, "cannot read the list absent.txt"),
        (["--split", "train"], 1, "is the split test, not train"),
    ],
)
def test_refuses(data: Path, pose: Path, weights: Path, capsys, extra: list[str], status: int, message: str) -> None:
    names = {"pose": pose, "weights": weights}
    arguments = ["robustness", "--weights", weights, "--data", data, *(text.format(**names) for text in extra)]
    got, out, err = run(arguments, capsys)
    assert (got, out) == (status, "")
    assert message in " ".join(err.replace("│", " ").split())
