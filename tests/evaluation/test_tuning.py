"""The search on the compute dial: settings, Pareto front, honest halves, the choice, the tuned copy.

Speed is never asserted: where a cost is needed, it is the executed multiply-accumulates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import apvit
from apvit.data import Split
from apvit.engines import Engine, EngineError, create_engine
from apvit.engines.timing import FEWEST_ROUNDS, executed_macs
from apvit.evaluation import EvaluationError, expression_metrics
from apvit.evaluation.predictions import predict
from apvit.evaluation.tuning import (
    Goal,
    Setting,
    candidate_settings,
    draw_faces,
    halve,
    open_settings,
    pareto_front,
    time_engines,
    tune,
    write_tuned,
)
from apvit.evaluation.tuning_picture import draw_tuning
from apvit.expressions import get_label_space
from apvit.nn import ARCHITECTURES, read_config
from apvit.weights import Card, Preprocessing, find_weights, read_card


def million_macs(engines: Sequence[Engine], x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Executed multiply-accumulates in place of milliseconds."""
    return np.array([[executed_macs(e.card) / 1e6 for e in engines]])


def card_of(architecture: str) -> Card:
    config = ARCHITECTURES[architecture]
    labels = get_label_space("raf-db" if config.num_classes == 7 else "ferplus")
    colour, spread = ("grey", (0.5,)) if config.in_channels == 1 else ("rgb", (0.5,) * 3)
    return Card(
        architecture=architecture,
        parameters=config.to_dict() | {"num_classes": len(labels)},
        labels=labels,
        preprocessing=Preprocessing(None, config.image_size, colour, spread, spread),
        provenance={},
        metrics=(),
        licence="none",
        intended_use="tests",
    )


@pytest.mark.parametrize("architecture", ["apvit_tiny", "apvit_small", "apvit_base"])
def test_settings_are_few_and_compute_differently(architecture: str) -> None:
    card = card_of(architecture)
    found = candidate_settings(card)
    config = read_config(card.parameters)
    assert (found[0].patches, found[0].tokens) == (config.patch_count, config.token_counts)
    assert 20 <= len(found) <= 40
    assert len({(s.patches, s.tokens[:-1]) for s in found}) == len(found)
    for setting in found:
        own = read_config(setting.keep.card(card).parameters)
        assert (own.patch_count, own.token_counts) == (setting.patches, setting.tokens)
        assert setting.macs == executed_macs(setting.keep.card(card))
    # The dial turns both ways.
    assert any(s.macs > found[0].macs for s in found)
    assert min(s.macs for s in found) < 0.9 * found[0].macs
    assert (config.num_patches,) * config.depth in {s.tokens for s in found}


def test_weights_without_a_token_schedule_can_be_tuned(weights_of: Callable[..., Path]) -> None:
    card = read_card(weights_of("plain", patch_keep=None, token_keep=None, depth=4))
    found = candidate_settings(card)
    assert str(found[0].keep) == "1"
    assert found[0].tokens == (144,) * 4
    assert any(s.tokens[-1] < s.patches for s in found)


def test_weights_without_pooling_are_refused() -> None:
    with pytest.raises(EngineError, match="no attentive pooling"):
        candidate_settings(card_of("transfer_base"))


def test_pareto_front_by_hand() -> None:
    costs = [1, 2, 2, 3, 3, 4, 1]
    gains = [0, 5, 4, 5, 6, 6, 0]
    assert pareto_front(costs, gains).tolist() == [True, True, False, False, True, False, True]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_off_the_front_means_that_another_is_better(points: list[tuple[int, int]]) -> None:
    front = pareto_front(*zip(*points, strict=True))
    for (cost, gain), on in zip(points, front, strict=True):
        beaten = any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in points)
        assert on != beaten
    kept = sorted({point for point, on in zip(points, front, strict=True) if on})
    assert [gain for _, gain in kept] == sorted({gain for _, gain in kept})  # what costs more gains more


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=40).filter(lambda g: len(set(g)) > 1), st.integers(0, 99))
def test_halves_share_no_group_and_are_about_equal(numbers: list[int], seed: int) -> None:
    groups = [f"video {number}" for number in numbers]
    first = halve(groups, seed)
    sides = [{g for g, inside in zip(groups, first, strict=True) if inside == side} for side in (True, False)]
    assert all(sides)
    assert not sides[0] & sides[1]
    largest = max(groups.count(group) for group in groups)
    assert abs(int(first.sum()) - len(groups) / 2) <= largest
    assert (halve(groups, seed) == first).all()


def test_halves_change_with_the_seed_and_need_two_groups() -> None:
    groups = [str(i) for i in range(40)]
    assert halve(groups, 0).sum() == 20
    assert (halve(groups, 0) != halve(groups, 1)).any()
    with pytest.raises(EvaluationError, match="3 faces form 1 group"):
        halve(["one"] * 3, 0)


@pytest.mark.parametrize(
    ("goal", "chosen"),
    [
        (Goal(budget_ms=9), 3),  # the most accurate of all; of two as accurate, the faster
        (Goal(budget_ms=2.5), 1),
        (Goal(budget_ms=2), 1),
        (Goal(budget_ms=0.5), None),
        (Goal(accuracy_loss=0), 1),
        (Goal(accuracy_loss=0.005), 1),
        (Goal(accuracy_loss=0.1), 5),  # of two as fast, the more accurate
        (Goal(accuracy_loss=1), 5),
    ],
)
def test_choice(goal: Goal, chosen: int | None) -> None:
    ms = [3, 2, 1, 4, 5, 1]
    difference = [0, 0, -0.11, 0.02, 0.02, -0.1]
    assert goal.choose(ms, difference) == chosen


@pytest.mark.parametrize("loss", [k / 1000 for k in range(0, 60, 7)])
def test_a_loss_of_exactly_what_is_allowed_is_allowed(loss: float) -> None:
    faces = round(loss * 3000)
    assert Goal(accuracy_loss=loss).choose([2, 1], [0, -np.mean([1] * faces + [0] * (3000 - faces))]) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either"),
        ({"budget_ms": 1, "accuracy_loss": 0.1}, "not both"),
        ({"budget_ms": 0}, "above 0 ms"),
        ({"budget_ms": float("nan")}, "above 0 ms"),
        ({"accuracy_loss": -0.1}, "from 0 to 1"),
        ({"accuracy_loss": 5}, "from 0 to 1"),
    ],
)
def test_goals_that_cannot_be(values: dict[str, float], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        Goal(**values)


@pytest.fixture
def bench(weights: Path, make_split: Callable[..., Split], tmp_path: Path) -> tuple[list[Setting], list[Engine], Split]:
    """Nine settings of a random network, and 60 faces of noise that its own setting mostly recognises."""
    found = candidate_settings(read_card(weights))
    engines = open_settings(str(weights), found, "torch", tmp_path, "cpu")
    split = make_split([0] * 60, group=[f"person {i // 2}" for i in range(60)])
    said = predict(engines[0], split).predicted
    labels = np.where(np.arange(60) % 4 == 0, (said + 1) % 8, said)
    return found, engines, replace(split, labels=labels)


def test_search_agrees_with_evaluating_each_setting(bench: tuple[list[Setting], list[Engine], Split]) -> None:
    found, engines, split = bench
    done: list[int] = []
    chosen, record = tune(
        found, engines, split, Goal(accuracy_loss=0.2), timing=million_macs, resamples=200, progress=done.append
    )
    assert sum(done) == len(found) * 60
    half = halve(split.groups, 0)
    for setting, engine, row in zip(found, engines, record["settings"], strict=True):
        assert row["ms"] == pytest.approx(setting.macs / 1e6)
        p = predict(engine, split)
        for name, part in (("all", p), ("choosing", p.select(half)), ("reporting", p.select(~half))):
            assert row[name]["faces"] == len(part)
            assert row[name]["accuracy"] == pytest.approx(part.correct.mean())
            low, high = row[name]["interval"]
            assert low <= row[name]["difference"] <= high
    own, row = record["settings"][0], record["settings"][record["chosen"]]
    assert (own["all"]["difference"], own["all"]["interval"]) == (0, [0, 0])
    assert len({r["all"]["accuracy"] for r in record["settings"]}) > 1  # the dial changes what is said
    allowed = [r for r in record["settings"] if r["choosing"]["difference"] >= -0.2 - 1e-9]
    assert row["ms"] == min(r["ms"] for r in allowed)
    assert chosen == found[record["chosen"]]
    reported = predict(engines[record["chosen"]], split).select(~half)
    expected = expression_metrics(reported.probabilities, reported.labels, reported.space)
    assert record["figures"] == {name: value for name, value in expected.items() if name != "confusion"}
    points = [(r["ms"], r["all"]["accuracy"], r["by_ms"]) for r in record["settings"]]
    for ms, accuracy, on in points:
        assert on != any(m <= ms and a >= accuracy and (m, a) != (ms, accuracy) for m, a, _ in points)


@pytest.mark.parametrize("goal", [Goal(accuracy_loss=0.1), Goal(budget_ms=1e6)], ids=["loss", "budget"])
def test_reporting_faces_have_no_say_in_the_choice(
    goal: Goal, bench: tuple[list[Setting], list[Engine], Split]
) -> None:
    found, engines, split = bench
    reporting = ~halve(split.groups, 0)
    changed = replace(split, labels=np.where(reporting, (split.labels + 3) % 8, split.labels))
    (first, one), (second, other) = (
        tune(found, engines, faces, goal, timing=million_macs, resamples=100) for faces in (split, changed)
    )
    assert first == second
    for a, b in zip(one["settings"], other["settings"], strict=True):
        assert a["choosing"] == b["choosing"]
    assert one["figures"]["accuracy"] != other["figures"]["accuracy"]
    assert "had no part in the choice" in one["notes"][0]


def test_a_loss_on_the_reporting_faces_beyond_the_allowed_is_said(
    bench: tuple[list[Setting], list[Engine], Split],
) -> None:
    found, engines, split = bench
    said = predict(engines[0], split).predicted
    # On the choosing half everybody is wrong, so that every setting seems to lose nothing; on the other the card's own
    # setting is right about all.
    everyone = np.stack([predict(engine, split).predicted for engine in engines])
    unsaid = np.array([next(k for k in range(8) if k not in column) for column in everyone.T])
    labels = np.where(halve(split.groups, 0), unsaid, said)
    _, record = tune(
        found, engines, replace(split, labels=labels), Goal(accuracy_loss=0), timing=million_macs, resamples=100
    )
    row = record["settings"][record["chosen"]]
    assert row["macs"] == min(s.macs for s in found)
    assert row["choosing"]["difference"] == 0
    assert row["reporting"]["difference"] < 0
    assert "more than the 0 allowed" in record["notes"][1]


def test_times_of_a_busy_machine_are_said_to_be_unsure(bench: tuple[list[Setting], list[Engine], Split]) -> None:
    found, engines, split = bench

    def disturbed(engines: Sequence[Engine], x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        return million_macs(engines, x) * np.array([[1], [1.6], [1], [1.6]])

    notes = [
        tune(found, engines, split, Goal(accuracy_loss=1), timing=timing, resamples=100)[1]["notes"]
        for timing in (million_macs, disturbed)
    ]
    assert not any("busy" in note for note in notes[0])
    assert notes[1][-1].startswith("The machine is busy")


def test_a_budget_that_nothing_meets_names_the_cheapest(bench: tuple[list[Setting], list[Engine], Split]) -> None:
    found, engines, split = bench
    cheapest = min(found, key=lambda s: s.macs)
    done: list[int] = []
    with pytest.raises(
        EvaluationError, match=rf"within 0\.001 ms: the cheapest, keep='{cheapest.keep}', takes"
    ) as said:
        tune(found, engines, split, Goal(budget_ms=0.001), timing=million_macs, progress=done.append)
    assert str(said.value).count(". ") == 0
    assert not done


def test_engines_share_tensors_and_say_what_each_alone_says(weights: Path, tmp_path: Path) -> None:
    found = candidate_settings(read_card(weights))[:4]
    engines = open_settings(str(weights), found, "torch", tmp_path, "cpu")
    x = np.random.default_rng(0).normal(size=(3, 1, 48, 48)).astype(np.float32)
    for setting, engine in zip(found, engines, strict=True):
        alone = create_engine(weights, "torch", "cpu", keep=setting.keep)
        np.testing.assert_array_equal(engine.run(x).probabilities, alone.run(x).probabilities)
        assert engine.run(x).patches.shape[1] == setting.patches
    places = {next(engine.model.parameters()).data_ptr() for engine in engines}  # type: ignore[attr-defined]
    assert len(places) == 1
    ms = time_engines(engines, x, seconds=0.05)
    assert ms.shape[0] >= FEWEST_ROUNDS
    assert ms.shape[1] == 4
    assert (ms > 0).all()


@pytest.mark.parametrize("engine", ["auto", "steam"])
def test_engines_that_no_search_runs_on(engine: str, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="known are torch, onnx, openvino"):
        open_settings(str(weights), candidate_settings(read_card(weights)), engine, tmp_path)


@pytest.mark.slow
def test_exported_engines_say_the_same(weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="exporting needs apvit[export]")
    pytest.importorskip("onnxruntime", reason="running needs apvit[onnx]")
    found = candidate_settings(read_card(weights))[:2]
    x = np.random.default_rng(0).normal(size=(3, 1, 48, 48)).astype(np.float32)
    pairs = (open_settings(str(weights), found, engine, tmp_path, "cpu") for engine in ("torch", "onnx"))
    for torch_engine, onnx_engine in zip(*pairs, strict=True):
        np.testing.assert_allclose(torch_engine.run(x).probabilities, onnx_engine.run(x).probabilities, atol=1e-5)


def test_faces_are_drawn_among_those_with_a_known_label(weights: Path, make_split: Callable[..., Split]) -> None:
    card = read_card(weights)
    split = make_split([0, None, 1, 2, None, 3])
    assert draw_faces(card, split, None, 0).labels.tolist() == [0, 1, 2, 3]
    drawn = [draw_faces(card, split, 2, seed) for seed in range(6)]
    assert all(len(faces) == 2 and (faces.labels >= 0).all() for faces in drawn)
    assert len({tuple(faces.sources) for faces in drawn}) > 1
    with pytest.raises(EvaluationError, match="alignment template"):
        draw_faces(card, make_split([0, 1], alignment="raf-db-112-v1"), None, 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_the_tuned_copy_is_the_same_network_with_another_card(
    dtype: torch.dtype, bench: tuple[list[Setting], list[Engine], Split], weights: Path, tmp_path: Path
) -> None:
    found, engines, split = bench
    source, out = tmp_path / "source.safetensors", tmp_path / "tuned.safetensors"
    model, card = apvit.load_weights(weights)
    apvit.save_weights(model, replace(card, provenance={"dataset": "ferplus"}), source, dtype=dtype)
    setting, record = tune(found, engines, split, Goal(accuracy_loss=1), timing=million_macs, resamples=100)
    record |= {"engine": "torch", "machine": {"date": "today"}}
    write_tuned(str(source), out, setting, record, split.metadata)

    before, after = load_file(source), load_file(out)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype
        assert torch.equal(tensor, after[name])
    tuned = read_card(out)
    assert tuned.parameters == setting.keep.card(card).parameters
    assert read_config(tuned.parameters).patch_count == setting.patches != found[0].patches
    (figures,) = tuned.metrics
    row = record["settings"][record["chosen"]]
    assert (figures["split"], figures["dataset"]) == ("valid", "ferplus")
    assert (figures["faces"], figures["accuracy"]) == (
        row["reporting"]["faces"],
        pytest.approx(row["reporting"]["accuracy"]),
    )
    origin = tuned.provenance["tuned_from"]
    assert tuned.provenance["dataset"] == "ferplus"
    assert origin["weights"] == str(source)
    assert len(origin["sha256"]) == 64
    assert (origin["keep"], origin["tuned"]["keep"]) == (str(found[0].keep), str(setting.keep))
    x = np.random.default_rng(0).normal(size=(3, 1, 48, 48)).astype(np.float32)
    kept = create_engine(source, "torch", "cpu", keep=setting.keep)
    np.testing.assert_array_equal(create_engine(out, "torch", "cpu").run(x).probabilities, kept.run(x).probabilities)


def test_the_weight_file_is_never_overwritten(
    bench: tuple[list[Setting], list[Engine], Split], weights: Path, tmp_path: Path
) -> None:
    content = weights.read_bytes()
    with pytest.raises(EvaluationError, match="is the weight file itself"):
        write_tuned(str(weights), find_weights(weights), bench[0][1], {}, bench[2].metadata)
    assert weights.read_bytes() == content


@pytest.mark.parametrize("goal", [Goal(accuracy_loss=0.1), Goal(budget_ms=1e6)], ids=["loss", "budget"])
def test_picture_marks_the_own_setting_the_choice_and_the_limit(
    goal: Goal, bench: tuple[list[Setting], list[Engine], Split]
) -> None:
    found, engines, split = bench
    _, record = tune(found, engines, split, goal, timing=million_macs, resamples=100)
    figure = draw_tuning(record, "random on ferplus")
    left, right = figure.axes
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    chosen = record["settings"][record["chosen"]]["keep"]
    assert {"Pareto front", f"the card's own, {found[0].keep}", f"chosen, {chosen}"} <= set(labels)
    assert ("budget" if goal.budget_ms else "loss allowed") in labels
    assert f"keep {chosen}" in figure.get_suptitle()
    assert "ms per face" in left.get_xlabel()
    assert "multiply-accumulates" in right.get_xlabel()
