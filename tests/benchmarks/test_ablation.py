"""The ablation from training to table, on synthetic faces and small networks."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from tests.training.bars import SMALL, write_bars

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_from_training_to_table_and_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_bars(data, "train", 96, 0)
    write_bars(data, "valid", 40, 1)
    config = tmp_path / "recipe.yaml"
    model = {**SMALL, "stem_stages": [list(stage) for stage in SMALL["stem_stages"]], "token_keep": [1, 0.9]}
    recipe = {"data": str(data), "output": str(tmp_path / "runs"), "model": model, "epochs": 1, "batch_size": 16}
    config.write_text(json.dumps({**recipe, "device": "cpu", "warmup_epochs": 0.5}))
    command = [sys.executable, str(PROJECT / "benchmarks/ablation/ablation.py"), "--config", str(config)]
    command += ["--seeds", "0,1", "--result", str(tmp_path / "ablation.json"), "--occluded-faces", "20"]
    for _ in range(2):  # the second time nothing is trained again
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
    assert "| APP and ATP |" in run.stdout
    assert "(pooling has none)" in run.stdout
    assert "| occluded, 20 faces | no pooling | APP | ATP | APP and ATP |" in run.stdout
    assert "| 0.82 | " in run.stdout
    assert "steps an epoch" not in run.stderr
    result = json.loads((tmp_path / "ablation.json").read_text())
    assert [row["name"] for row in result["variants"]] == ["no pooling", "APP", "ATP", "APP and ATP"]
    assert all(len(row["accuracies"]) == 2 for row in result["variants"])
    assert result["variants"][0]["patches"] == 144


def test_the_published_table_is_the_result_files() -> None:
    folder = PROJECT / "benchmarks/ablation"
    script = runpy.run_path(str(folder / "ablation.py"))
    page, result = (folder / "README.md").read_text(), json.loads((folder / "ablation.json").read_text())
    assert script["with_table"](page, result) == page
