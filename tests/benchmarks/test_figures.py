"""The figures in the READMEs are those of the bundled weights' cards and of the result files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from tests.benchmarks.conftest import BENCHMARKS

from apvit.evaluation import expression_metrics
from apvit.expressions import get_label_space
from apvit.weights import read_card


def test_the_readmes_are_up_to_date(figures: ModuleType) -> None:
    assert figures.main(["--check"]) == 0


def test_every_benchmark_that_is_explained_stands_in_the_site() -> None:
    root = BENCHMARKS.parent
    (section,) = (
        one["Benchmarks"] for one in yaml.safe_load((root / "mkdocs.yml").read_text())["nav"] if "Benchmarks" in one
    )
    named = [page for entry in section for page in entry.values()]
    assert sorted(named) == sorted(path.relative_to(root).as_posix() for path in BENCHMARKS.glob("*/README.md"))


@pytest.fixture
def project(tmp_path: Path, figures: ModuleType) -> Path:
    for name in (
        "README.md",
        "docs/speed.md",
        "docs/video.md",
        "docs/archives.md",
        "docs/service.md",
        *(f"benchmarks/{folder}/README.md" for folder in ("archive", "dial", "framing", "service", "speed")),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"before\n{figures.BEGIN}\nold\n{figures.END}\nafter\n")
    return tmp_path


def test_writing_and_checking(project: Path, figures: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    readme = project / "README.md"
    assert figures.main(["--check"], project=project) == 1
    assert "README.md are out of date" in capsys.readouterr().err
    assert "\nold\n" in readme.read_text(), "a check writes nothing"
    assert figures.main([], project=project) == 0
    text = readme.read_text()
    assert text.startswith(f"before\n{figures.BEGIN}\n")
    assert text.endswith(f"\n{figures.END}\nafter\n")
    assert "\nold\n" not in text
    assert figures.main(["--check"], project=project) == 0
    assert figures.main([], project=project) == 0
    assert readme.read_text() == text
    left = {path.name for path in project.rglob("*.*")}
    assert left == {"README.md", "speed.md", "video.md", "archives.md", "service.md"}, "nothing else is left behind"


@pytest.mark.parametrize(
    "text",
    ["no markers", "{begin}\nno end", "{end}\n{begin}", "{begin}\n{begin}\n{end}", "{begin}\n{end}\n{end}"],
)
def test_a_readme_without_its_markers_is_left_alone(
    text: str, project: Path, figures: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    text = text.format(begin=figures.BEGIN, end=figures.END)
    (project / "README.md").write_text(text)
    assert figures.main([], project=project) == 1
    assert "must have the lines" in capsys.readouterr().err
    assert (project / "README.md").read_text() == text


def test_without_weights_it_says_so(figures: ModuleType) -> None:
    assert figures.summary({}, None, None) == "No weights are bundled yet, so there are no accuracies."


@pytest.fixture
def metrics() -> dict[str, Any]:
    """Four faces of neutral, two of happiness; one of each is taken for anger."""
    space = get_label_space("ferplus")
    labels = np.array([0, 0, 0, 0, 1, 1])
    predicted = np.array([0, 0, 0, space.index("anger"), 1, space.index("anger")])
    probabilities = np.eye(len(space), dtype=np.float32)[predicted]
    return {
        "dataset": "ferplus",
        "split": "valid",
        "protocol": "majority",
        **expression_metrics(probabilities, labels, space),
    }


def test_a_card_becomes_tables(figures: ModuleType, weights: Path, metrics: dict[str, Any]) -> None:
    card = replace(read_card(weights), metrics=(metrics,))
    lines = figures.summary({"some.weights": card}, None, None).splitlines()
    assert lines[0].startswith("**`some.weights` on FER+ validation:** 6 faces (majority protocol)")
    assert "| validation accuracy (95 % interval) | mean class accuracy | macro-F1 | calibration error |" in lines
    assert "| **66.7 %** (30.0 to 90.3) | 62.5 % | 76.2 % | 33.3 % |" in lines
    # Classes without a face have no recall, and the rest stand in the order used everywhere.
    assert "|  | neutral | happiness |" in lines
    assert "| recall | 75 % | 50 % |" in lines
    assert "| faces | 4 | 2 |" in lines


def test_a_calibrated_card_publishes_the_cross_fitted_error(
    figures: ModuleType, weights: Path, metrics: dict[str, Any]
) -> None:
    fitted = {**metrics, "calibration": {"ece_cross_fitted": 0.0154, "ece_floor": 0.0132}}
    lines = figures.summary({"some.weights": replace(read_card(weights), metrics=(fitted,))}, None, None).splitlines()
    assert "| **66.7 %** (30.0 to 90.3) | 62.5 % | 76.2 % | 1.5 % (perfect calibration would measure 1.3 %) |" in lines


@pytest.fixture
def framing(experiment: ModuleType) -> dict[str, Any]:
    """A result as the experiment writes it, of made-up answers for 100 faces."""
    found = np.arange(100) >= 10
    wrong = {"untouched": 20, "aligned": 21, "square": 30, "box": 40}
    right = {way: np.arange(90) >= count for way, count in wrong.items()}
    everywhere = np.full(100, True)
    row = experiment.summarise(found, right, everywhere)
    return {
        "weights": {"file": "some.safetensors", "sha256": "a" * 64},
        "data": {"dataset": "ferplus", "split": "valid"},
        "sizes": [48, 160],
        "turns": [20.0, 45.0],
        "square_factor": 1.1,
        "calibration": {"faces": 200, "found": 180, "found_with_a_hard_border": 179},
        "upright": row,
        "tilted": row,
        "by_size": [{"size": 48, **row}],
        "by_turn": [{"turn": [0.0, 10.0], **row}],
        "environment": {"date": "2026-01-02T03:04:05+00:00", "processor": "abacus"},
    }


def test_framing_in_the_summary(figures: ModuleType, framing: dict[str, Any]) -> None:
    text = figures.in_photographs(framing)
    assert "200 FER+ validation faces were pasted into photographs, 48 to 160 px large" in text
    assert "finds 90.0 % of those turned by up to 20°, 90.0 % of those turned by 20 to 45°" in text
    assert "| aligned to the template | −1.1 (" in text
    assert "| square around the box, enlarged × 1.1 | −11.1 (" in text
    assert "| the box, stretched to a square | −22.2 (" in text


def test_a_square_that_is_not_enlarged_is_not_called_so(figures: ModuleType, framing: dict[str, Any]) -> None:
    assert "| square around the box | −11.1 (" in figures.in_photographs({**framing, "square_factor": 1.0})


def test_framing_by_size(figures: ModuleType, framing: dict[str, Any]) -> None:
    lines = figures.by_size(framing).splitlines()
    row = "100 | 90.0 % | 77.8 % | 76.7 % | 66.7 % | 55.6 % |"
    assert f"| 48 px, up to 20° | {row}" in lines
    assert f"| all sizes, 0 to 10° | {row}" in lines
    assert f"| **all sizes, 20 to 45°** | {row}" in lines
    assert any(line.startswith("| aligned against square | +10.0 (") for line in lines)
    assert "200 pasted training faces 90.0 % are found as they are pasted here, 89.5 % with a hard border" in lines[-1]


def test_results_of_other_weights_are_refused(figures: ModuleType, framing: dict[str, Any]) -> None:
    figures.check_weights("framing/experiment.py", framing, ["b" * 64, "a" * 64])
    refused = r"benchmarks/framing/experiment\.py was measured on some\.safetensors, SHA-256 a{12}\.\.\., which is not"
    with pytest.raises(figures.FiguresError, match=refused):
        figures.check_weights("framing/experiment.py", framing, ["b" * 64])


def test_results_at_another_threshold_are_refused(figures: ModuleType) -> None:
    default = figures.THRESHOLDS["mtcnn"]
    figures.check_threshold("framing/experiment.py", "mtcnn", default)
    with pytest.raises(figures.FiguresError, match=r"framing/experiment\.py is of mtcnn's threshold 0\.123"):
        figures.check_threshold("framing/experiment.py", "mtcnn", 0.123)


def test_detectors(figures: ModuleType) -> None:
    thresholds = sorted({*figures.THRESHOLDS.values()})
    count = len(thresholds)
    groups = {
        "photographs": {"megapixels": 20.0, "found_share": [0.9] * count, "false": [1] * count},
        "without faces": {"megapixels": 80.0, "false": [2] * count},
        "pasted 32": {"megapixels": 5.0, "found_share": [0.5] * count, "false": [4] * count},
        "pasted 160": {"megapixels": 5.0, "found_share": [0.7] * count, "false": [4] * count},
    }
    result = {"thresholds": thresholds, "mtcnn": {"groups": groups}, "yunet": {"groups": groups}}
    lines = figures.detection(result).splitlines()
    assert lines[2] == "| detector, threshold | found in photographs | found where pasted, 32 to 160 px | false faces |"
    for name in ("MTCNN", "YuNet"):
        default = figures.THRESHOLDS[name.lower()]
        assert f"| {name}, {default:g} | 90.0 % | 60.0 % | 3 in 100 megapixels |" in lines


# Brown, Cai and DasGupta 2001, and a share of nothing.
@pytest.mark.parametrize(
    ("share", "count", "interval"), [(0.5, 100, (0.4038, 0.5962)), (0.0, 10, (0.0, 0.2775)), (1.0, 10, (0.7225, 1.0))]
)
def test_wilson(share: float, count: int, interval: tuple[float, float], figures: ModuleType) -> None:
    assert figures.wilson(share, count) == pytest.approx(interval, abs=1e-4)
