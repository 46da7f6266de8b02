"""Every command that measures accuracy runs torch unless told otherwise, and every result says what ran the network."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from apvit import cli
from apvit.data import FaceRow, SplitMetadata, write_split
from apvit.engines import create_engine
from apvit.expressions import get_label_space
from apvit.weights import read_card

for package in ("onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="needs apvit[export]")

COMMANDS = {
    "evaluate": "evaluate --weights {weights} --data {data} --resamples 100 --report {report}",
    "cross": "evaluate --cross --weights {weights} --data {data} --resamples 100 --report {report}",
    "robustness": "robustness --weights {weights} --data {data} --corruption jpeg --resamples 100 --report {report}",
    "calibrate": "calibrate {weights} {output} --data {data}",
    "tune": "tune {weights} --data {data} --accuracy-loss 1 --resamples 100 --report {report} --output {output}",
}
RUNTIME = {"engine", "version", "device", "threads", "precision"}


@pytest.fixture(scope="module")
def data(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 faces of noise, three quarters of which are labeled as the network recognizes them: a temperature fits."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 48, 48), np.uint8)
    engine, rows = create_engine(weights, "torch", "cpu"), []
    said = engine.run(engine.card.preprocessing.normalise(pixels)).probabilities.argmax(1)
    for i, (face, label) in enumerate(zip(pixels, said.tolist(), strict=True)):
        file = io.BytesIO()
        Image.fromarray(face).save(file, "PNG")
        rows.append(FaceRow(file.getvalue(), f"{i}.png", label if i % 4 else (label + 1) % 8, str(i)))
    path = tmp_path_factory.mktemp("data") / "valid.parquet"
    metadata = SplitMetadata("folder", "valid", get_label_space("ferplus"), alignment="ferplus-48-v1")
    write_split(path, rows, metadata)
    return path


@pytest.fixture(scope="module", autouse=True)
def cached(weights: Path, tmp_path_factory: pytest.TempPathFactory):
    """An export in the cache, which `recognize` would run."""
    from apvit.engines.cache import export_path
    from apvit.engines.export import export_onnx

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APVIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        export_onnx(weights, export_path(weights))
        assert create_engine(weights).runtime.engine == "onnx"
        yield


def run(command: str, capsys: pytest.CaptureFixture[str], **names: Path) -> tuple[dict[str, Any], str]:
    name, *options = command.split()
    with pytest.raises(SystemExit) as stop:
        cli.main([*(part.format(**names) for part in COMMANDS[name].split()), *options])
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    return json.loads(out), err


@pytest.mark.parametrize(
    "command", [*COMMANDS, "evaluate --engine onnx", "cross --engine auto", "robustness --engine onnx"]
)
def test_every_result_says_what_ran_the_network(
    command: str, data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"weights": weights, "data": data, "report": tmp_path / "report", "output": tmp_path / "out.safetensors"}
    record, said = run(command, capsys, **names)
    described = record["with"]["weights"]
    (described,) = described if isinstance(described, list) else [described]
    assert described["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    runtime = described["runtime"]
    assert runtime.keys() == RUNTIME
    wanted = "onnx" if "--engine" in command else "torch"
    expected = {
        "engine": wanted,
        "device": "cpu",
        "threads": torch.get_num_threads() if wanted == "torch" else int(os.environ["OMP_NUM_THREADS"]),
        "precision": "float32",
    }
    assert runtime.items() >= expected.items()
    assert record["with"]["machine"]["packages"][{"onnx": "onnxruntime"}.get(wanted, wanted)] == runtime["version"]
    words = f"{wanted} {runtime['version']}, cpu, "
    assert command.startswith("cross") or words in " ".join(said.split())
    for report in (tmp_path / "report").glob("*.json"):
        assert json.loads(report.read_text())["with"] == record["with"]
    for report in (tmp_path / "report").glob("*.md"):
        assert words in report.read_text()
    if names["output"].exists():
        assert read_card(names["output"]).metrics[0]["runtime"] == runtime
