"""The published dial: choices on one half, figures of the other, times in turns, the page. No speed is asserted."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from apvit.data import open_split
from apvit.evaluation.tuning import candidate_settings, open_settings
from apvit.weights import read_card


def setting(keep: str, macs: int, choosing: float, reporting: float) -> dict[str, Any]:
    parts = {"choosing": choosing, "reporting": reporting}
    return {
        "keep": keep,
        "patches": 118,
        "tokens": [118],
        "macs": macs,
        **{
            part: {"faces": 50, "accuracy": 0.8, "difference": gain, "interval": [gain - 0.01, gain + 0.01]}
            for part, gain in parts.items()
        },
    }


SETTINGS = [
    setting("118", 100_000_000, 0.0, 0.0),
    setting("1", 140_000_000, 0.004, 0.002),
    setting("0.5", 80_000_000, -0.004, -0.006),
    setting("0.3", 60_000_000, -0.02, -0.03),
    setting("0.9", 120_000_000, -0.05, 0.05),
]
ROUNDS = [[1.0, 2.0], [1.3, 2.6], [0.8, 1.6], [0.5, 1.0], [1.2, 2.4]]
"""The machine is half as fast in the second round."""


@pytest.fixture
def record(dial: ModuleType) -> dict[str, Any]:
    """As the script writes it."""

    def network(name: str, settings: list[dict[str, Any]], batches: tuple[int, ...]) -> dict[str, Any]:
        curves = [dial.curve(e, batch, ROUNDS, settings) for batch in batches for e in ("openvino", "torch")]
        return {"name": name, "random": name == "apvit_base", "settings": settings, "curves": curves}

    plain = [{k: v for k, v in one.items() if k not in ("choosing", "reporting")} for one in SETTINGS]
    made = {
        "date": "2026-01-02T03:04:05+00:00",
        "processor": "abacus",
        "cores": 2,
        "memory_gib": 8.0,
        "commit": "c" * 40,
        "packages": {"torch": "2.0"},
    }
    networks = [network("apvit_tiny", SETTINGS, (1, 32)), network("apvit_base", plain, (1, 4))]
    loaded: dict[str, Any] = json.loads(json.dumps({"networks": networks, "machine": made}))
    return loaded


def test_the_front_and_the_choice_are_of_the_choosing_half(dial: ModuleType) -> None:
    found = dial.curve("torch", 4, ROUNDS, SETTINGS)
    assert [one["median"] for one in found["of_own"]] == pytest.approx([1, 1.3, 0.8, 0.5, 1.2])
    assert found["ms_per_face"][0]["median"] == 375
    # 0.9 is the best of all on the reporting half, and beaten on the one that counts.
    assert found["front"] == [3, 2, 0, 1]
    assert found["choices"] == [
        {"loss": 0.0, "setting": 0},
        {"loss": 0.005, "setting": 2},
        {"loss": 0.01, "setting": 2},
    ]


def test_few_settings_reach_from_little_to_everything(dial: ModuleType) -> None:
    card = read_card("apvit_tiny")
    few = dial.few_settings(card, candidate_settings(card))
    assert few[0] == candidate_settings(card)[0]
    assert {one.keep.patches for one in few} == {118, 0.3, 0.5, None}
    assert any(set(one.tokens) == {144} for one in few), "everything"


def test_all_settings_of_all_engines_take_turns(dial: ModuleType, weights: Path, tmp_path: Path) -> None:
    settings = candidate_settings(read_card(weights))[:3]
    opened = {name: open_settings(str(weights), settings, "torch", tmp_path, "cpu") for name in ("torch", "again")}
    times = dial.time_settings(opened, (1, 2), 0.001)
    rounds = {len(times[engine][batch][number]) for engine in opened for batch in (1, 2) for number in range(3)}
    assert set(times) == set(opened)
    assert min(rounds) >= 5


def test_bundled_weights_on_faces(dial: ModuleType, two_people: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(dial, "BATCHES", {"apvit_tiny": (1,)})
    monkeypatch.setattr(dial, "candidate_settings", lambda card: candidate_settings(card)[:4])
    found = dial.turn_dial("apvit_tiny", ["torch"], tmp_path, 0.001, open_split(two_people, "valid"), 20)
    halves = [found["settings"][0][part]["faces"] for part in ("choosing", "reporting")]
    assert sum(halves) == found["settings"][0]["all"]["faces"] == 20
    assert min(halves) > 0
    assert [curve["engine"] for curve in found["curves"]] == ["torch"]
    assert len(found["curves"][0]["of_own"]) == len(found["settings"]) == 4
    json.dumps(found)


def test_a_picture(dial: ModuleType, record: dict[str, Any]) -> None:
    figure = dial.draw(record)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "apvit_tiny, OpenVINO, 32 at once",
        "apvit_tiny, torch, 32 at once",
        "apvit_base (random weights), 4 at once",
    ]


def test_the_pages(figures: ModuleType, record: dict[str, Any]) -> None:
    text = figures.pages.every_setting(record)
    assert "2026-01-02, abacus, 2 cores, 8 GiB; torch 2.0; commit cccccccccc." in text
    means = figures.pages.what_the_dial_means(record)
    assert means.count(". ") == 2, "three sentences"
    assert "Where 0.5 points of accuracy may be lost, `apvit_tiny` with `--keep 0.5` takes 0.80 of the time" in means
    assert "changes by −0.60 (−1.60 to +0.40) points" in means
    assert "Keeping everything takes 1.30 of the time" in means
    assert "+0.20 (−0.80 to +1.20), which these faces do not tell apart from no change" in means
    assert (
        "from 0.50 of its time with `--keep 0.3` (0.60 of what it executes) to 1.30 with everything kept (1.40" in means
    )
    row = next(line for line in text.splitlines() if line.startswith("| `0.3`"))
    assert [cell.strip() for cell in row.split("|")[3:5]] == ["−3.00 (−4.00 to −2.00)", "**0.50 (0.50 to 0.50)**"]
    assert means in figures.pages.for_users({}, record)
    assert figures.pages.every_setting(None) == "Not measured yet."
