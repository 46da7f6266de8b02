"""The measured part of docs/service.md follows from the result file."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def under_load(figures: ModuleType) -> ModuleType:
    module: ModuleType = figures.under_load
    return module


def load(**changes: Any) -> dict[str, Any]:
    times = {"median_seconds": 1.25, "p99_seconds": 1.5, "max_seconds": 2.0}
    return {
        "photograph": {"bytes": 9000, "size": [256, 256]},
        "seconds": 300.0,
        "capacity_per_second": 40.0,
        "sent_per_second": 80.0,
        "answered": {"count": 12000, "right": 11999, **times},
        "refused": {"count": 11990, "right": 11990, **times, "median_seconds": 0.0042},
        "neither": 10,
        "memory_mb": {"service": {"early": 100.0, "late": 99.0, "growth": -0.01}},
        "claims": {"memory is flat": True, "all are answered": False},
        "date": "2026-11-24T10:00:00+00:00",
        "commit": "0123456789abcdef",
        "processor": "abacus",
        "cores": 2,
        **changes,
    }


def test_by_hand(under_load: ModuleType) -> None:
    text = under_load.sentences(load())
    assert "40.0 photographs a second, of 256 by 256 pixels and one face, are answered" in text
    assert "80.0 a second were sent for 300 s" in text
    assert "of these 24,000 requests 40.0 a second were answered:" in text
    assert "| answered | 12,000 | 11,999 | 1.25 s | 1.50 s | 2.00 s |" in text
    assert "| refused | 11,990 | 11,990 | 4 ms | 1.50 s | 2.00 s |" in text
    assert "| service | 100 MB | 99 MB | −1.0 % |" in text


def test_what_did_not_hold_is_said(under_load: ModuleType) -> None:
    assert under_load.sentences(load()).endswith("**Did not hold: all are answered.**")
    held = under_load.sentences(load(claims={"memory is flat": True}))
    assert held.endswith("All that was claimed held: memory is flat.")


def test_too_few_refused_for_times(under_load: ModuleType) -> None:
    one = {"count": 1, "right": 1, "median_seconds": None, "p99_seconds": None, "max_seconds": None}
    assert "| refused | 1 | 1 |  |  |  |" in under_load.sentences(load(refused=one))


def test_the_picture_is_shown_where_there_is_one(under_load: ModuleType) -> None:
    assert under_load.with_picture(load()).endswith("(load.png)")
    assert under_load.with_picture(None) == under_load.sentences(None)
    assert "no published figure" in under_load.sentences(None)
