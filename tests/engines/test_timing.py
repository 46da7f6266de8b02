"""Timing in turns: the arithmetic on a clock of our own, and which engines take part. No speed is asserted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from apvit.engines import EngineError, Keep
from apvit.engines.cache import export_path
from apvit.engines.timing import (
    FEWEST_ROUNDS,
    GEMM_SIDE,
    Spread,
    executed_macs,
    measure,
    open_contenders,
    random_faces,
    summarise,
    take_turns,
)
from apvit.expressions import get_label_space
from apvit.nn import ARCHITECTURES, HybridConfig, count_macs
from apvit.weights import Card, Preprocessing, read_card


def card_of(config: HybridConfig) -> Card:
    colour = "grey" if config.in_channels == 1 else "rgb"
    labels = get_label_space("raf-db" if config.num_classes == 7 else "ferplus")
    values = (0.5,) * config.in_channels
    preprocessing = Preprocessing(None, config.image_size, colour, values, values)
    return Card("x", config.to_dict(), labels, preprocessing, {}, (), "none", "tests")


class Clock:
    """A clock that goes on only when a call says so, and the order of the calls."""

    def __init__(self) -> None:
        self.now, self.order = 0.0, []

    def __call__(self) -> float:
        return self.now

    def lasting(self, name: str, seconds: Callable[[], float]) -> Callable[[], None]:
        def call() -> None:
            self.order.append(name)
            self.now += seconds()

        return call


def test_turns_alternate_and_every_figure_is_of_one_call() -> None:
    clock = Clock()
    calls = {"a": clock.lasting("a", lambda: 0.25), "b": clock.lasting("b", lambda: 0.5)}
    taken = take_turns(calls, 3.0, clock=clock)
    assert taken == {"a": [0.25] * 8, "b": [0.5] * 8}  # 6 seconds are full after 8 rounds of 0.75
    assert "".join(clock.order) == "aabb" + "abba" * 4  # warm-up; such long calls need no untimed one


def test_short_calls_are_repeated_after_one_that_does_not_count() -> None:
    clock = Clock()
    taken = take_turns({"a": clock.lasting("a", lambda: 0.0078125)}, 0.5, clock=clock)  # a turn lasts 0.05
    assert set(taken["a"]) == {0.0078125}
    assert len(clock.order) == 2 + len(taken["a"]) * (1 + 7)


def test_slow_calls_get_their_rounds_whatever_the_budget() -> None:
    clock = Clock()
    taken = take_turns({"a": clock.lasting("a", lambda: 60.0)}, 0.1, clock=clock)
    assert len(taken["a"]) == FEWEST_ROUNDS


def test_ratios_are_taken_within_rounds() -> None:
    """A machine that gets slower for a while moves the times, not the ratio."""
    drift = [1.0, 1.0, 4.0, 2.0, 1.0]
    taken = {"torch": [0.4 * slow for slow in drift], "onnx": [0.1 * slow for slow in drift]}
    first, second = summarise(taken, 8, {"torch": 1000, "onnx": None})
    assert first.ratio == Spread(1, 1, 1)
    assert asdict(second.ratio) == pytest.approx({"median": 4, "low": 4, "high": 4})
    assert asdict(second.milliseconds) == pytest.approx({"median": 12.5, "low": 12.5, "high": 25})
    assert second.faces_per_second == pytest.approx(80)
    assert first.macs_per_second == pytest.approx(20 * 1000)
    assert second.macs_per_second is None
    assert first.gemm_fraction is second.gemm_fraction is None
    assert (first.name, first.batch, first.rounds) == ("torch", 8, 5)


def test_fraction_of_the_matrix_product() -> None:
    macs = GEMM_SIDE**3 // 2
    (timing,) = summarise({"torch": [4.0, 8.0], "gemm": [1.0, 2.0]}, 2, {"torch": macs})
    # Two faces are one product's work; it took four times the product's time.
    assert timing.gemm_fraction == Spread(0.25, 0.25, 0.25)


def test_torch_alone(weights: Path, tmp_path: Path) -> None:
    contenders, left_out = open_contenders(
        weights, tmp_path, engines=["torch", "torch"], keeps=[Keep(0.5)], device="cpu"
    )
    assert [one.to_dict() for one in contenders] == [
        {"name": "torch", "engine": "torch", "keep": None, "source": "weight file", "variant": ""},
        {"name": "torch keep 0.5", "engine": "torch", "keep": "0.5", "source": "weight file", "variant": ""},
    ]
    assert left_out == {}
    timings = measure(contenders, 2, 0.01, peak=True)
    assert [timing.name for timing in timings] == ["torch", "torch keep 0.5"]
    for timing in timings:
        assert 0 < timing.milliseconds.low <= timing.milliseconds.median <= timing.milliseconds.high
        assert timing.gemm_fraction is not None
        assert timing.gemm_fraction.median > 0
    assert timings[0].macs_per_second > 0
    json.dumps([asdict(timing) for timing in timings])


def test_executed_work_follows_the_keep(weights: Path, tmp_path: Path) -> None:
    card = read_card(weights)
    assert executed_macs(Keep(0.5).card(card)) < executed_macs(card)


@pytest.mark.parametrize("name", ["apvit_tiny", "apvit_small", "apvit_base"])
def test_executed_work_is_what_the_folded_network_multiplies(name: str) -> None:
    """Of the last block there remain four square matrices, the MLP, and two products with all tokens in every head."""
    config = ARCHITECTURES[name]
    real = count_macs(config, executed=True)
    tokens, dim = config.token_counts[-2] + 1, config.dim
    block = 4 * dim**2 + 2 * dim * config.mlp_hidden + 2 * config.num_heads * tokens * dim
    before = (2 * tokens + 2) * dim**2 + 2 * dim * config.mlp_hidden + 2 * tokens * dim
    assert executed_macs(card_of(config)) == real.total - before + block


def test_variants_of_torch(weights: Path, tmp_path: Path) -> None:
    contenders, _ = open_contenders(weights, tmp_path, engines=["torch"], device="cpu", precision="bf16")
    assert [(one.name, one.variant, one.runs.precision) for one in contenders] == [
        ("torch", "", "float32"),
        ("torch bf16", "bf16", "bf16"),
    ]
    with pytest.raises(EngineError, match="options of torch, which is not among"):
        open_contenders(weights, tmp_path, engines=["onnx"], compile=True)


def test_faces_are_the_cards(weights: Path) -> None:
    assert random_faces(read_card(weights), 3).shape == (3, 1, 48, 48)


@pytest.mark.parametrize(
    ("engines", "keeps", "message"),
    [
        (["steam"], [], "unknown engine 'steam'; known are torch, onnx, openvino"),
        (["torch"], [Keep(200)], "keep 200 does not fit"),
        (["torch"], [Keep(0.5, (1, 1, 1))], "keep 0.5:1,1,1 does not fit"),
    ],
)
def test_refusals(weights: Path, tmp_path: Path, engines, keeps, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        open_contenders(weights, tmp_path, engines=engines, keeps=keeps)


def test_exports_are_used_where_cached_and_else_made(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="needs apvit[export]")
    monkeypatch.setenv("APVIT_CACHE", str(tmp_path / "cache"))
    contenders, _ = open_contenders(weights, tmp_path, engines=["onnx", "torch"], device="cpu")
    assert [(one.engine, one.source) for one in contenders] == [
        ("onnx", "export made for this measurement"),
        ("torch", "weight file"),
    ]
    (made,) = tmp_path.glob("*.onnx")
    cached = export_path(weights)
    cached.parent.mkdir(parents=True)
    made.rename(cached)
    contenders, left_out = open_contenders(weights, tmp_path)
    assert contenders[0].engine == "torch"
    assert {one.source for one in contenders[1:]} == {"cached export"}
    assert {one.engine for one in contenders} | set(left_out) == {"torch", "onnx", "openvino"}
    assert not list(tmp_path.glob("*.onnx"))

    contenders, left_out = open_contenders(cached, tmp_path)
    assert {one.source for one in contenders} == {"exported file"}
    assert left_out["torch"] == "torch does not run ONNX files"
    with pytest.raises(EngineError, match=r"torch cannot run .*: torch does not run ONNX files"):
        open_contenders(cached, tmp_path, engines=["torch"])
    with pytest.raises(EngineError, match="was fixed when it was exported"):
        open_contenders(cached, tmp_path, keeps=[Keep(0.5)])
