"""The framing experiment crops and counts as it says."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from apvit.faces.detection import Detection


def detection(*box: float) -> Detection:
    return Detection(box, 1.0, np.zeros((5, 2), np.float32))


def test_crops_by_the_box(experiment: ModuleType) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (100, 120, 3)).astype(np.uint8)
    # 30 x 48 around x 55, y 44: the longer side counts.
    cut = experiment.cut_square(picture, detection(40, 20, 70, 68), 1.0, 48)
    assert (cut == picture[20:68, 31:79]).all()
    larger = experiment.cut_square(picture, detection(47, 36, 63, 52), 1.5, 24)
    assert (larger == picture[32:56, 43:67]).all()
    assert (experiment.cut_box(picture, detection(47.2, 36, 63, 51.9), 16) == picture[36:52, 47:63]).all()
    assert experiment.cut_box(picture, detection(40, 20, 70, 68), 48).shape == (48, 48, 3)


@pytest.mark.parametrize("way", ["below", "paired"])
def test_intervals_are_those_of_a_mean(way: str, experiment: ModuleType) -> None:
    rng = np.random.default_rng(5)
    values = rng.random(2000) < 0.8 if way == "below" else rng.choice([-1, 0, 1], 2000, p=[0.1, 0.75, 0.15])
    value = experiment.mean_with_interval(values)
    spread = 1.96 * values.std() / np.sqrt(len(values))
    assert value["mean"] == pytest.approx(values.mean())
    assert value["low"] == pytest.approx(values.mean() - spread, abs=0.003)
    assert value["high"] == pytest.approx(values.mean() + spread, abs=0.003)


def test_figures_are_paired_and_over_the_faces_found(experiment: ModuleType) -> None:
    found = np.array([True, True, False, True, True])
    right = {
        "untouched": np.array([True, True, False, False]),
        "aligned": np.array([True, False, True, True]),
        "square": np.array([False, False, False, True]),
        "box": np.array([False, False, False, False]),
    }
    row = experiment.summarise(found, right, np.array([True, True, True, False, True]))
    assert (row["faces"], row["found"], row["found_share"]["mean"]) == (4, 3, 0.75)
    means = {name: value["mean"] for name, value in row["accuracy"].items()}
    assert means == pytest.approx({"untouched": 2 / 3, "aligned": 2 / 3, "square": 1 / 3, "box": 0})
    assert row["difference"]["aligned - untouched"]["mean"] == pytest.approx(0)
    assert row["difference"]["aligned - square"]["mean"] == pytest.approx(1 / 3)


def test_the_whole_experiment_on_two_package_photographs(
    experiment: ModuleType,
    figures: ModuleType,
    weights: Path,
    two_people: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "result.json"
    experiment.main(["--weights", str(weights), "--data", str(two_people), "--output", str(output)])

    result = json.loads(output.read_text())
    groups = result["upright"], result["tilted"]
    assert sum(group["faces"] for group in groups) == 40
    assert groups[0]["found_share"]["mean"] > 0.9
    assert sum(row["faces"] for row in result["by_size"]) == groups[0]["faces"]
    assert sum(row["faces"] for row in result["by_turn"]) == 40
    assert result["template"] == "ferplus-48-v1"
    assert result["square_factor"] in experiment.FACTORS
    assert len(result["weights"]["sha256"]) == 64
    assert {path.name for path in tmp_path.iterdir()} == {two_people.name, "result.json", "result.png"}
    assert "| upright |" in capsys.readouterr().out
    assert "| 160 px, up to 20° |" in figures.by_size(result)
