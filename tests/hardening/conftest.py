"""The folder of bad inputs, and a command run in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.hardening import inputs

from apvit.cli import main

Outcome = tuple[int, str, str]
"""Exit status, standard output, standard error."""


@pytest.fixture(scope="session")
def bad_inputs(tmp_path_factory: pytest.TempPathFactory, photographs: dict[str, Path], weights: Path) -> Path:
    """All of `inputs`, good weights as good.safetensors, and results of earlier runs as old.*."""
    folder = tmp_path_factory.mktemp("bad")
    with Image.open(photographs["grace_hopper"]) as photo:
        inputs.write_pictures(folder, photo.convert("RGB"))
    inputs.write_weight_files(folder, weights)
    inputs.write_splits(folder)
    for name in ("good.safetensors", "old.safetensors"):
        shutil.copy(weights, folder / name)
    for name in ("old.jsonl", "old.csv", "old.parquet", "old.png"):
        (folder / name).write_text("an earlier run's")
    (folder / "old-report").mkdir()
    (folder / "old-report" / "report.json").write_text("an earlier run's")
    return folder


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes]) -> Callable[[list[str]], Outcome]:
    """`apvit` in this process."""

    def run(arguments: list[str]) -> Outcome:
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        out, err = capsysbinary.readouterr()
        return int(stop.value.code or 0), out.decode(), err.decode()

    return run
