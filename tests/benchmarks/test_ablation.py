"""The ablation and the keep rates from training to table, on synthetic faces and small networks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image
from tests.training.bars import SMALL, write_bars

from apvit.data import open_split
from apvit.engines import Keep, create_engine
from apvit.engines.dial import load_with_keep
from apvit.evaluation import evaluate
from apvit.weights import save_weights

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / "benchmarks/ablation"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A recipe that trains in seconds, with its data."""
    data = tmp_path / "data"
    data.mkdir()
    write_bars(data, "train", 96, 0)
    write_bars(data, "valid", 40, 1)
    model = {**SMALL, "stem_stages": [list(stage) for stage in SMALL["stem_stages"]], "token_keep": [1, 0.9]}
    recipe = {"data": str(data), "output": str(tmp_path / "runs"), "model": model, "epochs": 1, "batch_size": 16}
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({**recipe, "device": "cpu", "warmup_epochs": 0.5}))
    return path


def run_twice(script: str, config: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The second run, which trains nothing again."""
    command = [sys.executable, str(FOLDER / script), "--config", str(config), "--seeds", "0,1", *options]
    for _ in range(2):
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
    assert "steps an epoch" not in run.stderr
    return run


@pytest.mark.slow
def test_ablation_from_training_to_table_and_again(config: Path, tmp_path: Path) -> None:
    result_file = tmp_path / "ablation.json"
    run = run_twice("ablation.py", config, "--result", str(result_file), "--occluded-faces", "20")
    assert "| APP and ATP |" in run.stdout
    assert "(pooling has none)" in run.stdout
    assert "| occluded, 20 faces | no pooling | APP | ATP | APP and ATP |" in run.stdout
    assert "| 0.82 | " in run.stdout
    result = json.loads(result_file.read_text())
    assert [row["name"] for row in result["variants"]] == ["no pooling", "APP", "ATP", "APP and ATP"]
    assert all(len(row["accuracies"]) == 2 for row in result["variants"])
    assert result["variants"][0]["patches"] == 144


@pytest.mark.slow
def test_keep_rates_from_training_to_table_and_again(config: Path, tmp_path: Path) -> None:
    result_file = tmp_path / "keep_rates.json"
    (tmp_path / "README.md").write_text("before\n<!-- keep rates -->\nold\n<!-- /keep rates -->\nafter\n")
    options = ["--result", str(result_file), "--keeps", "1,0.5,0.25", "--turned", "0.5"]
    options += ["--epochs", "4", "--average-decay", "0.5", "--learning-rate", "0.003"]
    run = run_twice("keep_rates.py", config, *options)
    result = json.loads(result_file.read_text())
    assert max(row["trained"]["accuracy"] for row in result["rates"]) > 0.5, "they learnt something to lose"
    assert [(row["keep"], row["patches"]) for row in result["rates"]] == [("1", 144), ("0.5", 72), ("0.25", 36)]
    usual = result["rates"][1]
    assert usual["trained"]["accuracies"] == usual["turned"]["accuracies"], "turned to where it was trained"
    assert usual["difference"] is None
    assert all(len(row[way]["accuracies"]) == 2 for row in result["rates"] for way in ("trained", "turned"))
    page = (tmp_path / "README.md").read_text()
    assert page.startswith(
        "before\n<!-- keep rates -->\nferplus valid (majority), 4 epochs from scratch, 2 seeds; shipped is "
    )
    assert page.endswith("(keep_rates.png)\n<!-- /keep rates -->\nafter\n")
    assert run.stdout.strip() in page
    assert Image.open(tmp_path / "keep_rates.png").width > 800


def test_keep_rates_measure_what_they_say(keep_rates: ModuleType, weights: Path, tmp_path: Path) -> None:
    """Random networks, whose answers change with what they keep; each also measured by itself."""
    write_bars(tmp_path, "valid", 60, 1)
    valid = open_split(tmp_path)
    files = {"1": [], "0.2": []}
    for number, keep in enumerate([*files, *files]):
        model, card = load_with_keep(weights, Keep.parse(keep))
        torch.manual_seed(number)
        torch.nn.init.normal_(model.head.weight)
        files[keep].append(tmp_path / f"{number}.safetensors")
        save_weights(model, card, files[keep][-1])

    def measured(path: Path, keep: str | None = None) -> float:
        setting = None if keep is None else Keep.parse(keep)
        return evaluate(create_engine(path, "torch", "cpu", keep=setting), valid)["accuracy"]

    few, everything = keep_rates.measure({"0.2": files["0.2"], "1": files["1"]}, "1", weights, valid)
    assert (few["keep"], few["patches"], everything["keep"], everything["patches"]) == ("0.2", 28, "1", 144)
    assert few["trained"]["accuracies"] == [measured(path) for path in files["0.2"]]
    assert few["turned"]["accuracies"] == [measured(path, "0.2") for path in files["1"]]
    assert few["turned"]["accuracy"] != everything["turned"]["accuracy"], "nothing to tell apart"
    assert everything["turned"]["accuracies"] == everything["trained"]["accuracies"]
    assert (few["shipped"], everything["shipped"]) == (measured(weights, "0.2"), measured(weights, "1"))
    first = few["trained"]["accuracies"][0] - few["turned"]["accuracies"][0]
    assert few["difference"]["difference"] == pytest.approx(first, abs=1e-6)
    assert few["difference"]["low"] <= first <= few["difference"]["high"]
    assert everything["difference"] is None


def test_the_published_tables_are_the_result_files(ablation: ModuleType, keep_rates: ModuleType) -> None:
    page, result = (FOLDER / "README.md").read_text(), json.loads((FOLDER / "ablation.json").read_text())
    assert ablation.put_between(page, "table", ablation.table(result)) == page
    measured = FOLDER / "keep_rates.json"
    block = keep_rates.block(json.loads(measured.read_text())) if measured.is_file() else "Not measured yet."
    assert ablation.put_between(page, "keep rates", block) == page


@pytest.fixture
def rates() -> dict[str, Any]:
    """A result as the script writes it, of made-up figures."""
    row = {"gmac": 0.25, "executed_gmac": 0.23, "shipped": 0.88, "turned": {"accuracies": [0.8], "accuracy": 0.8}}
    trained = {"accuracies": [0.81], "accuracy": 0.81, "std": None}
    gain = {"name": "trained", "difference": 0.01, "low": -0.002, "high": 0.02}
    time = {"low": 1.0, "median": 2.0, "high": 3.0}
    return {
        "data": {"name": "ferplus", "split": "valid", "protocol": "majority"},
        "epochs": 10,
        "init": "some",
        "seeds": [0],
        "turned_from": "0.82",
        "weights": {"file": "some.safetensors", "sha256": "a" * 64},
        "rates": [
            {"keep": "1", "patches": 144, **row, "trained": trained, "difference": gain},
            {"keep": "0.82", "patches": 118, **row, "trained": {**trained, "std": 0.004}, "difference": None},
        ],
        "milliseconds": {batch: dict.fromkeys(("1", "0.82"), time) for batch in ("1", "32")},
    }


def test_keep_rates_as_a_table(keep_rates: ModuleType, rates: dict[str, Any]) -> None:
    lines = keep_rates.table(rates).splitlines()
    assert lines[0] == "ferplus valid (majority), 10 epochs from some, 1 seed; shipped is `some.safetensors`"
    end = "0.8800 | 0.250 (0.230) | 2.00 / 2.00 |"
    assert lines[4] == f"| 1 (144) | 0.8100 | 0.8000 | +0.0100 [-0.0020, +0.0200] | {end}"
    assert lines[5] == f"| 0.82 (118) | 0.8100 ± 0.0040 | 0.8000 |  | {end}"


def test_keep_rates_as_a_picture(keep_rates: ModuleType, rates: dict[str, Any]) -> None:
    (axes,) = keep_rates.draw(rates).axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["118\n0.82", "144\n1"]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(names) == ["some.safetensors, turned", "trained at 0.82, turned", "trained at this rate"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--keeps", "1,0.5"], "--turned 0.82 must be one of --keeps 1,0.5"),
        (["--keeps", "0.82,0.5:1"], "--keeps 0.5:1: ATP stays as the recipe has it"),
    ],
)
def test_keep_rates_are_refused_before_training(
    options: list[str], message: str, keep_rates: ModuleType, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        keep_rates.main(["--config", str(config), *options])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
