"""Thousands of injured files: only the rooms' own errors come out, without a crash, a hang or much memory."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from apvit.data import DataError, read_split

PROJECT = Path(__file__).resolve().parents[2]
MEMORY = 6 << 30
"""Bytes of address space: torch alone maps more than 3 GB of it."""


def injure(kind: str, folder: Path, seconds: float, rounds: int) -> dict[str, int]:
    """`injuring.py` in a process of its own, with little memory; what came out how often."""
    script = [
        sys.executable,
        "-m",
        "tests.hardening.injuring",
        kind,
        str(folder),
        str(seconds),
        str(rounds),
        str(MEMORY),
    ]
    done = subprocess.run(script, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=seconds + 120)
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes: dict[str, int] = json.loads(done.stdout)
    return outcomes


ERRORS = {
    "weights": {"WeightsError", "CardError"},
    "data": {"DataError"},
    "pictures": {"PictureError"},
    "checkpoints": {"CheckpointError"},
}


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize(
    ("seconds", "rounds"), [(3, 40), pytest.param(30, 100_000, marks=pytest.mark.slow)], ids=["some", "thousands"]
)
def test_injured_files(bad_inputs: Path, kind: str, seconds: float, rounds: int) -> None:
    outcomes = injure(kind, bad_inputs, seconds, rounds)
    assert set(outcomes) - {"read"} <= ERRORS[kind]
    assert sum(outcomes.values()) >= min(rounds, 30)
    assert any(outcomes.get(name) for name in ERRORS[kind])


def test_no_flipped_byte_changes_the_faces_of_a_split(bad_inputs: Path, tmp_path: Path) -> None:
    """Pages carry checksums, without which other labels, votes or pixels would be read in silence."""
    content = (bad_inputs / "good.parquet").read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    whole, chance, noticed = read_split(bad_inputs / "good.parquet"), random.Random(0), 0
    for _ in range(60):
        at = chance.randrange(4, footer)
        (tmp_path / "x.parquet").write_bytes(
            content[:at] + bytes([content[at] ^ chance.randrange(1, 256)]) + content[at + 1 :]
        )
        try:
            split = read_split(tmp_path / "x.parquet")
        except DataError:
            noticed += 1
        else:
            assert (split.images, split.sources, split.groups) == (whole.images, whole.sources, whole.groups)
            assert split.labels.tolist() == whole.labels.tolist()
    assert noticed > 50
