"""`apvit calibrate` as a user calls it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apvit import cli
from apvit.data import FaceRow, SplitMetadata, open_split, write_split
from apvit.engines import create_engine
from apvit.evaluation.predictions import predict
from apvit.expressions import get_label_space
from apvit.weights import read_card


def prepared(folder: Path, weights: Path, *, alignment: str = "ferplus-48-v1") -> Path:
    """A valid split of 60 faces of noise, of which the network recognises two in three."""
    folder.mkdir()
    random = np.random.default_rng(0)
    images = []
    for _ in range(60):
        buffer = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (48, 48), np.uint8)).save(buffer, "PNG")
        images.append(buffer.getvalue())

    def write(labels: list[int], template: str) -> None:
        rows = [FaceRow(image, f"{i}.png", labels[i], f"{i}") for i, image in enumerate(images)]
        metadata = SplitMetadata("ferplus", "valid", get_label_space("ferplus"), "majority", alignment=template)
        write_split(folder / "valid.parquet", rows, metadata)

    write([0] * 60, "ferplus-48-v1")
    said = predict(create_engine(weights, "torch", "cpu"), open_split(folder)).predicted
    write([int(label) if i % 3 else (int(label) + 1) % 8 for i, label in enumerate(said)], alignment)
    return folder


def run(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_a_table_a_json_line_and_a_file(weights: Path, tmp_path: Path, capsys) -> None:
    data, output = prepared(tmp_path / "data", weights), tmp_path / "c.safetensors"
    status, out, err = run(["calibrate", weights, "--data", data, output, "--device", "cpu"], capsys)
    assert status == 0, err
    assert out.count("\n") == 1
    record = json.loads(out)
    card = read_card(output)
    assert (record["weights"], record["data"], record["output"]) == (str(weights), str(data), str(output))
    assert (record["split"], record["protocol"], record["faces"]) == ("valid", "majority", 60)
    assert card.metrics == ({k: v for k, v in record.items() if k not in ("weights", "data", "output", "with")},)
    assert card.temperature == record["calibration"]["temperature"] != 1
    for text in ("coverage", "ECE cross-fitted", f"{card.temperature:.4f}, before 1.0000", f"wrote {output}"):
        assert text in err
    status, _, err = run(["calibrate", weights, "--data", data, "--split", "test", output], capsys)
    assert status == 1
    assert "has no split 'test'" in err


def test_what_does_not_fit_is_one_sentence(weights: Path, tmp_path: Path, capsys) -> None:
    data, output = prepared(tmp_path / "data", weights, alignment="arcface-112"), tmp_path / "c.safetensors"
    status, out, err = run(["calibrate", weights, "--data", data, output], capsys)
    assert (status, out, output.exists()) == (1, "", False)
    (line,) = err.strip().splitlines()
    assert line.startswith("error: the faces are framed by the alignment template 'arcface-112'")
