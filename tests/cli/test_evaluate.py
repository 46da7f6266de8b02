"""`apvit evaluate` as a user calls it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apvit import cli
from apvit.data import FaceRow, SplitMetadata, write_split
from apvit.expressions import get_label_space


def prepared(folder: Path, dataset: str = "ferplus", *, alignment: str = "ferplus-48-v1") -> Path:
    """A prepared train split of 4 and valid split of 30 faces of noise; they share one."""
    folder.mkdir()
    for split, count in (("train", 4), ("valid", 30)):
        random = np.random.default_rng(0)  # the first faces are the same in both
        rows = []
        for i in range(count):
            buffer = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (48, 48), np.uint8)).save(buffer, "PNG")
            group = "shared" if i == 0 else f"{split}{i}"
            rows.append(FaceRow(buffer.getvalue(), f"{split}/{i}.png", i % 7 if i != 5 else None, group))
        metadata = SplitMetadata(dataset, split, get_label_space(dataset), protocol="majority", alignment=alignment)
        write_split(folder / f"{split}.parquet", rows, metadata)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return prepared(tmp_path / "prepared")


def run(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_one_json_line_on_stdout(data: Path, weights: Path, capsys) -> None:
    status, out, err = run(["evaluate", "--weights", weights, "--data", data, "--device", "cpu"], capsys)
    assert status == 0
    assert out.count("\n") == 1
    record = json.loads(out)
    assert (record["weights"], record["data"]) == (str(weights), str(data))
    assert (record["split"], record["protocol"], record["faces"]) == ("valid", "majority", 29)
    for name in ("accuracy", "mean_class_accuracy", "macro_f1", "ece"):
        assert 0 <= record[name] <= 1
        low, high = record["intervals"][name]
        assert 0 <= low <= high <= 1
    assert record["shared_faces"]["shared"] == {"train": 1}
    assert record["shared_faces"]["without"]["faces"] == 28
    assert record["label_order"] is None
    assert "mean class accuracy" in err
    assert "1 of these faces also stand in another split" in err


def test_splits(data: Path, weights: Path, capsys) -> None:
    _, out, _ = run(["evaluate", "--weights", weights, "--data", data, "--split", "train"], capsys)
    assert json.loads(out)["split"] == "train"
    status, out, err = run(["evaluate", "--weights", weights, "--data", data, "--split", "test"], capsys)
    assert (status, out) == (1, "")
    assert "has no split 'test'" in err


def test_report(data: Path, weights: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "made" / "here"
    arguments = ["evaluate", "--weights", weights, "--data", data / "valid.parquet", "--report", folder]
    status, out, _ = run(arguments, capsys)
    assert status == 0
    stored = json.loads((folder / "evaluation.json").read_text())
    assert stored.items() >= json.loads(out).items()
    assert (folder / "evaluation.md").read_text().startswith("# random on ferplus valid, protocol majority")


def test_cross(data: Path, weights: Path, tmp_path: Path, capsys) -> None:
    raf = prepared(tmp_path / "raf", "raf-db")
    arguments = ["evaluate", "--cross", "--weights", weights, "--data", data, "--data", raf, "--report", tmp_path / "r"]
    status, out, err = run(arguments, capsys)
    assert status == 0
    record = json.loads(out)
    assert record["data"] == ["prepared", "raf"]
    assert [(cell["weights"], cell["data"], cell["faces"]) for cell in record["cells"]] == [
        ("random", "prepared", 29), ("random", "raf", 29)
    ]  # fmt: skip
    assert json.loads((tmp_path / "r" / "cross.json").read_text()) == record
    assert "raf" in err


def test_cross_goes_on_where_one_pair_does_not_fit(data: Path, weights: Path, tmp_path: Path, capsys) -> None:
    other = prepared(tmp_path / "other", alignment="arcface-112")
    status, out, err = run(["evaluate", "--cross", "--weights", weights, "--data", other, "--data", data], capsys)
    assert status == 1
    first, second = json.loads(out)["cells"]
    assert "arcface-112" in first["error"]
    assert second["error"] is None
    assert "random on other: the faces are framed by" in err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--data", "{data}"], "1 weight file and 2 datasets: add --cross"),
        (["--cross", "--data", "{data}"], "stand twice"),
        (["--resamples", "5"], "Invalid value for '--resamples'"),
    ],
)
def test_refuses_arguments(data: Path, weights: Path, capsys, extra: list[str], message: str) -> None:
    arguments = ["evaluate", "--weights", weights, "--data", data, *(text.format(data=data) for text in extra)]
    status, out, err = run(arguments, capsys)
    assert (status, out) == (2, "")
    assert message in " ".join(err.replace("│", " ").split())
