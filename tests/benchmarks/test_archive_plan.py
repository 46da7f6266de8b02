"""The plan in docs/archives.md follows from the result file."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def plan(figures: ModuleType) -> ModuleType:
    module: ModuleType = figures.plan
    return module


def scaling(**changes: Any) -> dict[str, Any]:
    run = {"startup_seconds": 10.0, "peak_memory": 5e8}
    return {
        "date": "2026-11-24T10:00:00+00:00",
        "command": "scaling.py",
        "commit": "0123456789abcdef",
        "processor": "a processor",
        "cores": 2,
        "ray": "2.60.0",
        "weights": "apvit_tiny",
        "detector": "mtcnn",
        "pictures": 300,
        "longer_side": 512,
        "bytes_per_picture": 50_000.0,
        "faces_per_picture": 0.5,
        "workers": {"1": {**run, "pictures_per_second": 25.0}, "2": {**run, "pictures_per_second": 40.0}},
        "empty_shard": {"shards": 100, "seconds_per_shard": 0.072},
        "driver": {
            "characters_per_name": 45.0,
            "bytes_held_per_name": 53.0,
            "peak_bytes_per_name": 200.0,
            "seconds_per_million": 3.0,
        },
        **changes,
    }


def test_by_hand(plan: ModuleType) -> None:
    text = plan.plan(scaling())
    assert "| 2 | 40.0 | × 1.60 | 20.0 | 500 MB |" in text
    # 10^8 / 20 s + 10^5 shards of 0.072 s are 5,007,200 core seconds; 16 cores take 312,950 s, and 10 to start.
    assert "| 16 | 1,000 | 100,000 | 86.9 | 1,391 | 8 GB | 50 s |" in text
    assert "The driver needs 20 GB and 5 minutes" in text
    assert "brings 5.0 TB of pictures, 1.0 MB per second for each core" in text


def test_what_was_measured_stands_in_both_pages(plan: ModuleType) -> None:
    measured = plan.measured(scaling())
    assert plan.plan(scaling()).startswith(measured)
    assert "with `benchmarks/archive/scaling.py` at commit `0123456789ab`" in measured
    assert "A shard costs 72 ms beside its pictures" in measured
    assert "million pictures" not in measured


def test_nothing_is_made_up_before_it_was_measured(plan: ModuleType) -> None:
    assert plan.plan(None) == plan.measured(None)
    assert plan.plan(None).startswith("Not measured yet")
