"""The experiments on explanations: their arithmetic by hand, and both from faces to tables on a random network."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from apvit.data import FaceRow, SplitMetadata, write_split
from apvit.engines.engine import Output
from apvit.expressions import get_label_space
from apvit.faces.alignment import TEMPLATES

pytest.importorskip("captum", reason="needs captum (apvit[dev])")
pytest.importorskip("matplotlib", reason="needs matplotlib (apvit[demo])")


def test_ranks(faithfulness: ModuleType) -> None:
    values = np.array([[0.1, 0.9, 0.5, 0.2]])
    assert faithfulness.rank(values, [0]).tolist() == [[3, 0, 1, 2]]
    equal = np.zeros((40, 6))
    places = faithfulness.rank(equal, list(range(40)))
    assert np.array_equal(np.sort(places), np.broadcast_to(np.arange(6), (40, 6)))
    assert 1.5 < places.mean(0).min() < places.mean(0).max() < 3.5, "equal values have no order"
    assert np.array_equal(places[3:4], faithfulness.rank(equal[:1], [3])), "a face's chance is its own"


@pytest.mark.parametrize("channels", [(), (3,)])
def test_replacing_patches(faithfulness: ModuleType, channels: tuple[int, ...]) -> None:
    faces, fill = np.zeros((1, 4, 4, *channels), np.uint8), np.full((1, 4, 4, *channels), 9, np.uint8)
    replaced = faithfulness.replace(faces, fill, np.array([[True, False, False, True]]), 2)
    assert replaced.shape == faces.shape
    plane = replaced[0] if not channels else replaced[0, :, :, 0]
    assert plane.tolist() == [[9, 9, 0, 0], [9, 9, 0, 0], [0, 0, 9, 9], [0, 0, 9, 9]]


def test_area(faithfulness: ModuleType) -> None:
    shares = np.array(faithfulness.SHARES)
    assert faithfulness.area(np.full(len(shares), 0.3)) == pytest.approx(0.3)
    assert faithfulness.area(1 - shares) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("way", "low", "high", "expected"),
    [
        ("deletion", -0.2, -0.1, "better than"),
        ("deletion", 0.1, 0.2, "worse than"),
        ("insertion", 0.1, 0.2, "better than"),
        ("insertion", -0.2, -0.1, "worse than"),
        ("deletion", -0.1, 0.1, "not told apart from"),
        ("insertion", -0.1, 0.1, "not told apart from"),
    ],
)
def test_verdict(faithfulness: ModuleType, way: str, low: float, high: float, expected: str) -> None:
    assert faithfulness.verdict({"mean": 0.0, "low": low, "high": high}, way) == expected


def test_covered_pixels_are_those_of_the_corruption(occlusion: ModuleType) -> None:
    face = np.random.default_rng(0).integers(0, 128, (48, 48), np.uint8)
    mask = occlusion.covered_pixels(face, "mouth", 3, 0, "a", TEMPLATES["ferplus-48-v1"])
    corruption = occlusion.CORRUPTIONS["mouth"]
    damaged = occlusion.corrupt(face, corruption, 3, seed=0, source="a", template=TEMPLATES["ferplus-48-v1"])
    assert np.array_equal(mask, damaged == 128)
    for fill, expected in (("black", 0), ("grey", 128), ("mean", round(face.mean()))):
        covered = occlusion.cover(face, mask, fill, 0)
        assert (covered[mask] == expected).all()
        assert np.array_equal(covered[~mask], face[~mask])
    assert occlusion.cover(face, mask, "noise", 0)[mask].std() > 50


def test_watched_patches(occlusion: ModuleType) -> None:
    mask = np.zeros((1, 20, 20), bool)
    mask[0, :13, :14] = True  # of patches of 4: 3 x 3 whole, a column of halves, a row of quarters
    covered, inner = (patches[0].reshape(5, 5) for patches in occlusion.watched_patches(mask, 5))
    assert covered[:3, :4].all()
    assert covered.sum() == 12
    assert np.argwhere(inner).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]], "beyond the border nothing is uncovered"


def test_count_and_figures(occlusion: ModuleType) -> None:
    output = Output(
        probabilities=np.ones((1, 1), np.float32),
        patch_scores=np.array([[3.0, 1.0, 2.0, 5.0]], np.float32),
        patches=np.array([[0, 2, 3]]),
        tokens=(np.array([[0, 2, 3]]), np.array([[0, 3]])),
        embedding=np.zeros((1, 1), np.float32),
    )
    counts = occlusion.count(output, np.array([[True, True, True, False]]))
    np.testing.assert_allclose(counts, [[3, 2, 1, (2 + 0 + 1) / 3]])
    found = occlusion.figures(counts[0])
    assert found["app"] == pytest.approx(1 / 3)
    assert found["atp"] == pytest.approx(1 / 2)
    assert found["both"] == pytest.approx(2 / 3)
    assert found["place"] == pytest.approx(1 / 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six faces of noise in each split."""
    import io

    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for split in ("train", "valid"):
        rows = []
        for i in range(6):
            buffer = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (48, 48), np.uint8)).save(buffer, "PNG")
            rows.append(FaceRow(buffer.getvalue(), f"{split}{i}.png", i % 3, f"{split}{i}"))
        labels = get_label_space("ferplus")
        metadata = SplitMetadata("ferplus", split, labels, alignment="ferplus-48-v1", counts={"rows": 6})
        write_split(folder / f"{split}.parquet", rows, metadata)
    return folder


@pytest.mark.parametrize("name", ["faithfulness", "occlusion"])
def test_from_faces_to_tables(name, request, weights, data, tmp_path, monkeypatch, capsys) -> None:
    script: ModuleType = request.getfixturevalue(name)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)  # it remembers what TMPDIR was
    monkeypatch.setattr("recording.PIECE", 2)
    texts = [tmp_path / "benchmarks/explanation/README.md", tmp_path / "docs/explanation.md"]
    for text in texts:
        text.parent.mkdir(parents=True)
        text.write_text(f"before\n<!-- figures: written by {name}.py -->\n<!-- end of {name}.py -->\nafter\n")
    options = ["--weights", str(weights), "--data", str(data), "--faces", "4", "--output", str(tmp_path)]
    script.main([*options, "--seconds", "-1"])
    assert "0 of 4 faces done; run again" in capsys.readouterr().err
    assert not (tmp_path / f"benchmarks/explanation/{name}.json").exists()
    script.main(options)
    record = json.loads((tmp_path / f"benchmarks/explanation/{name}.json").read_text())
    assert record["faces"] == 4
    assert {"date", "command", "commit", "processor"} <= set(record["environment"])
    for text in texts:
        said = text.read_text()
        assert said.startswith("before\n")
        assert said.endswith("after\n")
        assert "nan" not in said
        assert "\n- " in said
    assert Image.open(tmp_path / f"docs/images/explain-{name}.png").width > 800
    again = capsys.readouterr()
    script.main(options)  # nothing is measured twice, and the same comes out
    assert capsys.readouterr().out.split("Intervals")[1] == again.out.split("Intervals")[1]
