"""Curves and lists through real networks; labels are what the first network says, so that it is right when clean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from apvit.engines import Engine, create_engine
from apvit.evaluation import EvaluationError
from apvit.evaluation.corruptions import CORRUPTIONS, corrupt
from apvit.evaluation.lists import read_list
from apvit.evaluation.provenance import describe_data, describe_weights
from apvit.evaluation.robustness import Bench, choose_corruptions, measure_curves, measure_lists
from apvit.evaluation.robustness_report import write_robustness
from apvit.machine import describe_machine


@pytest.fixture(scope="module")
def engines(weights_of) -> dict[str, Engine]:
    """Attentive pooling on, and the same weights with it off."""
    pooled = weights_of("pooled", space="ferplus")
    full = weights_of("full", space="ferplus", patch_keep=None, token_keep=None)
    return {"pooled": create_engine(pooled, device="cpu"), "full": create_engine(full, device="cpu")}


def said(engine: Engine, faces: np.ndarray) -> np.ndarray:
    return engine.run(engine.card.preprocessing.normalise(faces)).probabilities.argmax(1)


@pytest.fixture
def split(engines, make_split):
    """24 FER+ faces that the pooled network recognises, all."""
    sources = [f"FER2013Valid/fer{i:07d}.png" for i in range(24)]
    blank = make_split([0] * 24, source=sources)
    labels = said(engines["pooled"], blank.pixels("grey"))
    return make_split(labels.tolist(), source=sources)


def test_curves_against_a_loop(engines, split) -> None:
    chosen = [CORRUPTIONS["eyes"], CORRUPTIONS["noise"]]
    seen: list[int] = []
    bench = Bench.of(engines, split, batch_size=10)
    result = measure_curves(bench, chosen, faces=24, resamples=100, progress=seen.append)
    assert sum(seen) == 2 * 24 * 11
    assert result["commonest"] == np.bincount(split.labels).max() / 24
    template = engines["pooled"].card.preprocessing.alignment
    for panel, corruption in zip(result["corruptions"], chosen, strict=True):
        assert panel["levels"] == [0, *corruption.levels]
        for row, engine in zip(panel["results"], engines.values(), strict=True):
            for severity in range(6):
                faces = np.stack([
                    corrupt(f, corruption, severity, seed=0, source=s, template=template)
                    for f, s in zip(split.pixels("grey"), split.sources, strict=True)
                ])  # fmt: skip
                expected = (said(engine, faces) == split.labels).mean()
                assert row["accuracy"][severity] == pytest.approx(expected)
            assert row["damaged"] == pytest.approx(np.mean(row["accuracy"][1:]))
            assert row["drop"] == pytest.approx(row["accuracy"][0] - row["damaged"])
        first, second = panel["results"]
        assert first["accuracy"][0] == 1
        assert first["difference"] is None
        assert second["difference"]["accuracy"] == pytest.approx(
            np.subtract(second["accuracy"], first["accuracy"]).tolist()
        )
        assert second["difference"]["drop"] == pytest.approx(second["drop"] - first["drop"])
    for w, name in enumerate(engines):
        assert result["overall"][w]["name"] == name
        expected = np.mean([panel["results"][w]["damaged"] for panel in result["corruptions"]])
        assert result["overall"][w]["damaged"] == pytest.approx(expected)


def test_a_network_against_itself_differs_by_nothing(engines, split) -> None:
    """Paired: the interval of the difference is of no width, though each accuracy has one."""
    twice = {"a": engines["pooled"], "b": engines["pooled"]}
    panel = measure_curves(Bench.of(twice, split), [CORRUPTIONS["noise"]], faces=24, resamples=100)["corruptions"][0]
    gap = panel["results"][1]["difference"]
    assert set(gap["accuracy"] + gap["low"] + gap["high"] + gap["drop_interval"]) == {0}


def test_faces_are_a_seeded_sample_and_damage_does_not_depend_on_it(engines, split) -> None:
    bench = Bench.of(engines, split)
    few, all_faces = bench.sample(8, 0), bench.sample(99, 0)
    assert np.array_equal(few, bench.sample(8, 0))
    assert not np.array_equal(few, bench.sample(8, 1))
    assert all_faces.tolist() == list(range(24))
    steps = [(CORRUPTIONS["jitter"], 5), (CORRUPTIONS["blocks"], 3)]
    everything = bench.right(all_faces, steps, 0, lambda _: None)
    assert np.array_equal(bench.right(few, steps, 0, lambda _: None), everything[:, :, few])


def test_only_faces_that_all_weights_can_be_right_about(engines, weights_of, make_split) -> None:
    seven = create_engine(weights_of("seven", engines["pooled"].card.labels.expressions[:7]), device="cpu")
    bench = Bench.of({**engines, "seven": seven}, make_split([0, 7, None, 3]))
    assert bench.faces.tolist() == [0, 3]
    with pytest.raises(EvaluationError, match="no labelled face"):
        Bench.of({"seven": seven}, make_split([7, None]))


def test_corruptions_that_need_a_template(engines, weights_of) -> None:
    free = {"free": create_engine(weights_of("free", space="ferplus", template=None), device="cpu")}
    chosen, skipped = choose_corruptions([], free)
    assert set(skipped) == {"eyes", "mouth"}
    assert [c.name for c in chosen] == [name for name in CORRUPTIONS if name not in skipped]
    assert choose_corruptions(["eyes", "blur"], engines) == ([CORRUPTIONS["eyes"], CORRUPTIONS["blur"]], {})
    with pytest.raises(EvaluationError, match="eyes cannot be measured: the card of free has no alignment template"):
        choose_corruptions(["eyes"], free)
    with pytest.raises(EvaluationError, match="unknown corruption 'fog'; known are eyes, mouth"):
        choose_corruptions(["fog"], engines)


@pytest.fixture
def occluded(tmp_path: Path, split) -> Path:
    """Six lines: two faces twice, one labelled otherwise, one that is not there."""
    numbers = [3, 4, 4, 3, 7]
    labels = [int(split.labels[i]) for i in numbers]
    labels[4] = (labels[4] + 1) % 8
    lines = [f"{label}_fer{i:07d}.png 8 {i % 2}" for i, label in zip(numbers, labels, strict=True)]
    path = tmp_path / "occlusion.txt"
    path.write_text("\n".join([*lines, "0_fer0099999.png 8 1"]))
    return path


def test_lists(engines, split, occluded: Path) -> None:
    (record,) = measure_lists(Bench.of(engines, split), [read_list(occluded)], resamples=100)
    counts = {key: record[key] for key in ("lines", "repeated", "found", "missing", "scored", "disagreements")}
    assert counts == {"lines": 6, "repeated": 2, "found": 5, "missing": 1, "scored": 5, "disagreements": 1}
    first, second = record["results"]
    assert (first["faces"], first["accuracy"], first["interval"]) == (5, 1.0, [1.0, 1.0])
    right = said(engines["full"], split.pixels("grey")) == split.labels
    assert second["accuracy"] == pytest.approx(right[[3, 4, 4, 3, 7]].mean())
    assert second["rest"] == {"faces": 21, "accuracy": pytest.approx(np.delete(right, [3, 4, 7]).mean())}
    assert second["difference"]["accuracy"] == pytest.approx(second["accuracy"] - 1)
    assert {kind: row["faces"] for kind, row in first["by_kind"].items()} == {"0": 2, "1": 3}


def test_a_list_whose_faces_have_no_label(engines, make_split, occluded: Path) -> None:
    split = make_split([None, 0], source=["fer0000003.png", "fer0000000.png"])
    with pytest.raises(EvaluationError, match=r"no face of .*occlusion.txt has a label"):
        measure_lists(Bench.of(engines, split), [read_list(occluded)], resamples=100)


def test_report(engines, split, occluded: Path, weights: Path, tmp_path: Path) -> None:
    bench = Bench.of(engines, split)
    record = {
        "weights": [{"name": name, "weights": name} for name in engines],
        "data": "somewhere", "seed": 0, "resamples": 100,
        "curves": measure_curves(bench, [CORRUPTIONS["eyes"], CORRUPTIONS["blur"]], faces=12, resamples=100),
        "skipped": {"mouth": "there is no template"},
        "lists": measure_lists(bench, [read_list(occluded)], resamples=100),
        "with": {
            "weights": [describe_weights(str(weights), engine) for engine in engines.values()],
            "data": describe_data("somewhere", split.metadata),
            "machine": describe_machine(),
        },
    }  # fmt: skip
    write_robustness(tmp_path / "report", record)
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "differences.png", "robustness.json", "robustness.md", "robustness.png"
    ]  # fmt: skip
    text = (tmp_path / "report" / "robustness.md").read_text()
    for part in (
        "# Robustness of pooled, full on ferplus valid", "12 faces", "Eyes covered", "Not measured: mouth",
        "### occlusion.txt", "6 lines, 2 of them repeated; 5 found, 1 not; 5 scored",
        "Not found: fer0099999", "fer0000007:", "difference to pooled",
    ):  # fmt: skip
        assert part in text, part
