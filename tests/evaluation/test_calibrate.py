"""A calibrated copy of a weight file: its tensors, its temperature, and figures measured on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from apvit.data import Split
from apvit.engines import create_engine
from apvit.evaluation import EvaluationError, evaluate
from apvit.evaluation.calibrate import calibrate
from apvit.evaluation.predictions import predict
from apvit.expressions import LabelSpaceError
from apvit.files import OutputError
from apvit.weights import load_weights, read_card, save_weights
from apvit.weights.file import replace_card

TRUE = 1.6
"""The labels of the faces are drawn at this temperature."""


@pytest.fixture
def half(weights: Path, tmp_path: Path) -> Path:
    """The random network as float16, with measurements from before."""
    model, card = load_weights(weights)
    old = [
        {"dataset": "ferplus", "split": split, "protocol": None, "faces": 9, "accuracy": 0.5, "ece": 0.3}
        for split in ("train", "valid")
    ]
    save_weights(model, replace(card, metrics=tuple(old)), tmp_path / "half.safetensors", dtype=torch.float16)
    return tmp_path / "half.safetensors"


@pytest.fixture
def faces(half: Path, make_split: Callable[..., Split]) -> Split:
    """Noise whose labels are drawn as the network at temperature `TRUE` says."""
    split = make_split([0] * 400)
    probabilities = predict(create_engine(half, "torch", "cpu"), split).probabilities.astype(np.float64)
    chances = (probabilities ** (1 / TRUE) / (probabilities ** (1 / TRUE)).sum(1, keepdims=True)).cumsum(1)
    labels = (np.random.default_rng(0).random((400, 1)) > chances[:, :-1]).sum(1)
    return make_split(labels.tolist())


def test_round_trip(half: Path, faces: Split, tmp_path: Path) -> None:
    output, seen = tmp_path / "calibrated.safetensors", []
    measured = calibrate(half, faces, output, device="cpu", progress=seen.append)
    card, before = read_card(output), read_card(half)
    assert card.temperature == measured["calibration"]["temperature"] == pytest.approx(TRUE, rel=0.2)
    assert replace(card, temperature=1.0, metrics=()) == replace(before, metrics=())
    assert before.temperature == 1.0
    assert sum(seen) == 800

    tensors, old = load_file(output), load_file(half)
    assert tensors.keys() == old.keys()
    assert {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()} == {torch.float16}
    assert all(torch.equal(tensors[name], old[name]) for name in old)

    one, other = (predict(create_engine(path, "torch", "cpu"), faces) for path in (half, output))
    np.testing.assert_array_equal(one.predicted, other.predicted)
    assert (one.probabilities.max(1) > other.probabilities.max(1)).mean() > 0.99
    assert not list(tmp_path.glob("*.part"))


def test_the_card_holds_what_is_measured_on_the_file(half: Path, faces: Split, tmp_path: Path) -> None:
    output = tmp_path / "calibrated.safetensors"
    measured = calibrate(half, faces, output, device="cpu")
    mine, other = read_card(output).metrics
    assert mine == measured
    figures = evaluate(create_engine(output, "torch", "cpu"), faces)
    assert {name: mine[name] for name in figures} == figures
    assert (mine["dataset"], mine["split"], mine["faces"]) == ("ferplus", "valid", 400)
    assert (mine["coverage"][0]["coverage"], mine["coverage"][0]["accuracy"]) == pytest.approx((1, mine["accuracy"]))
    assert mine["ece"] < mine["calibration"]["ece_before"]
    assert np.sum(mine["confusion"]) == 400
    assert set(mine["intervals"]) == {
        "accuracy",
        "mean_class_accuracy",
        "macro_f1",
        "per_class",
    }  # none of an in-sample ECE
    low, high = mine["intervals"]["accuracy"]
    assert low < mine["accuracy"] < high
    assert "agreement" not in mine, "nobody voted on these faces"
    # Of the measurement on other data only what no temperature changes is still true.
    assert other == {"dataset": "ferplus", "split": "train", "protocol": None, "faces": 9, "accuracy": 0.5}


def test_agreement_of_annotators_is_kept(half: Path, faces: Split, tmp_path: Path) -> None:
    names = faces.metadata.labels.expressions
    votes = np.full((len(faces), len(names)), 1, np.float32) + 2 * np.eye(len(names), dtype=np.float32)[faces.labels]
    voted = replace(faces, votes=votes, metadata=replace(faces.metadata, vote_names=names))
    agreement = calibrate(half, voted, tmp_path / "o.safetensors", device="cpu")["agreement"]
    assert agreement == pytest.approx({names[label]: 3 / 10 for label in np.unique(faces.labels)})


def test_again_gives_the_same_temperature_and_may_replace_the_file(half: Path, faces: Split) -> None:
    first = calibrate(half, faces, half, device="cpu")["calibration"]
    second = calibrate(half, faces, half, device="cpu")["calibration"]
    assert second["temperature"] == pytest.approx(first["temperature"], rel=1e-4)
    assert second["ece_before"] < first["ece_before"]
    assert len(read_card(half).metrics) == 2


def test_refuses_data_that_do_not_fit(half: Path, make_split: Callable[..., Split], tmp_path: Path) -> None:
    output = tmp_path / "o.safetensors"
    for options, error, message in (
        ({"alignment": "arcface-112"}, EvaluationError, "framed by the alignment template 'arcface-112'"),
        ({"alignment": None, "space": "valence"}, LabelSpaceError, "unknown label space"),
    ):
        with pytest.raises(error, match=message):
            calibrate(half, make_split([0] * 9, **options), output, device="cpu")
    assert not output.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [("o.pth", r"must be a weight file: name it \*.safetensors"), ("no/o.safetensors", "does not exist; make it")],
)
def test_refuses_an_output_before_any_work(half: Path, make_split, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises((EvaluationError, OutputError), match=message):
        calibrate(half, make_split([0] * 9), tmp_path / name, device="cpu", progress=lambda _: pytest.fail("ran"))


def test_another_models_card_is_refused(half: Path, tmp_path: Path) -> None:
    card = read_card(half)
    with pytest.raises(ValueError, match="describes another model than"):
        replace_card(half, replace(card, parameters={**card.parameters, "depth": 9}), tmp_path / "o.safetensors")
    assert not (tmp_path / "o.safetensors").exists()
