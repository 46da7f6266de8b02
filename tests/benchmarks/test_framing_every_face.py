"""Every face at every size: the figures are of the faces found, and the files are written whole."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


def test_two_people_at_three_sizes(
    every_face: ModuleType,
    weights: Path,
    two_people: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(every_face, "EVERY", (64, 160))
    monkeypatch.setattr(every_face, "SOME", (192,))  # turned by up to 20 degrees it just fits into a picture
    monkeypatch.setattr(every_face, "SOME_FACES", 3)
    output = tmp_path / "result.json"
    given = ["--weights", str(weights), "--data", str(two_people), "--faces", "8", "--output", str(output)]
    every_face.main(given)

    result = json.loads(output.read_text())
    rows = result["by_size"]
    assert [(row["size"], row["faces"]) for row in rows] == [(64, 8), (160, 8), (192, 3)]
    for row in rows:
        assert row["found_share"]["mean"] == row["found"] / row["faces"] > 0.8
        aligned, untouched = (row["accuracy"][way]["mean"] for way in ("aligned", "untouched"))
        assert row["difference"]["aligned - untouched"]["mean"] == pytest.approx(aligned - untouched)
        assert set(row["accuracy"]) == {"aligned", "untouched"}
    assert len(result["weights"]["sha256"]) == 64
    assert result["environment"]["command"]
    assert {path.name for path in tmp_path.iterdir()} == {two_people.name, "result.json", "result.png"}
    assert "| 160 px | 8 |" in capsys.readouterr().out


def test_a_face_is_placed_where_it_fits(pasting: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for turn in (-20.0, 0.0, 20.0):
        placement = pasting.draw_place(192, turn, rng)
        half = 24 * (1 + 2 * pasting.FADE)
        corners = np.array([(23.5 + x, 23.5 + y, 1) for x in (-half, half) for y in (-half, half)])
        reached = corners @ placement.matrix(48).T
        assert reached.min() >= 0
        assert reached.max() <= pasting.PICTURE
