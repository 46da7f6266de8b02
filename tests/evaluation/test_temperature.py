"""The fitted temperature: recovered where it is known, cross-fitted, and beside the floor of a perfect model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apvit.evaluation import EvaluationError
from apvit.evaluation.calibration import top_label_ece
from apvit.evaluation.temperature import (
    assign_folds,
    calibration_figures,
    cross_fit,
    ece_floor,
    fit_temperature,
    recover_logits,
    soften,
)


def draw(
    count: int, temperature: float, *, classes: int = 3, seed: int = 0, sharpness: float = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn as often as their softmax at `temperature` says."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, sharpness, (count, classes))
    chances = soften(logits, temperature).cumsum(1)
    return logits, (random.random((count, 1)) > chances[:, :-1]).sum(1)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_recovers_a_known_temperature(temperature: float) -> None:
    logits, labels = draw(20_000, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_the_fit_is_where_the_likelihood_is_highest() -> None:
    logits, labels = draw(500, 1.7)
    best = fit_temperature(logits, labels)

    def cost(temperature: float) -> float:
        return float(-np.log(soften(logits, temperature)[np.arange(500), labels]).mean())

    assert cost(best) < min(cost(best * 1.01), cost(best / 1.01))


def test_by_hand() -> None:
    # Three of four faces right, and two expressions one logit apart: softmax(1 / T) must be 3/4, so 1 / T = log 3.
    logits = np.array([[1.0, 0]] * 4)
    assert fit_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(1 / np.log(3))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, 0, 0], "no temperature from 0.05 fits these 4 faces, as .* recognised"),
        ([1, 1, 1, 0], "no temperature up to 20 fits these 4 faces, as the confidences say nothing"),
    ],
)
def test_refuses_what_has_no_minimum(labels: list[int], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        fit_temperature(np.array([[1.0, 0]] * 4), np.array(labels))


@given(
    st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1.0, 3.0]), st.sampled_from([0.5, 2.0, 40.0])
)  # 40: float32 rounds to 0
@settings(max_examples=30, deadline=None)
def test_logits_come_back_from_probabilities(seed: int, temperature: float, sharpness: float) -> None:
    logits, _ = draw(20, temperature, seed=seed, sharpness=sharpness)
    probabilities = soften(logits, temperature).astype(np.float32)
    recovered = recover_logits(probabilities, temperature)
    assert np.isfinite(recovered).all()
    np.testing.assert_allclose(soften(recovered, temperature), probabilities, atol=1e-6)
    np.testing.assert_allclose(soften(recovered, 7.0)[probabilities.min(1) > 1e-30],
                               soften(logits, 7.0)[probabilities.min(1) > 1e-30], atol=1e-5)  # fmt: skip


@given(st.lists(st.integers(0, 12), min_size=30, max_size=60), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_folds_keep_groups_together(numbers: list[int], seed: int) -> None:
    groups = [f"g{number}" for number in numbers]
    if len(set(groups)) < 5:
        with pytest.raises(EvaluationError, match="5 folds need at least as many independent faces, got"):
            assign_folds(groups, seed=seed)
        return
    folds = assign_folds(groups, seed=seed)
    assert set(folds.tolist()) == {0, 1, 2, 3, 4}
    for group in set(groups):
        assert len({fold for fold, own in zip(folds.tolist(), groups, strict=True) if own == group}) == 1
    np.testing.assert_array_equal(folds, assign_folds(groups, seed=seed))


def test_folds_are_equally_large_and_seeded() -> None:
    groups = [str(i) for i in range(103)]
    assert sorted(np.bincount(assign_folds(groups)).tolist()) == [20, 20, 21, 21, 21]
    assert (assign_folds(groups, seed=0) != assign_folds(groups, seed=1)).any()


def test_cross_fitting_never_sees_its_own_fold() -> None:
    logits, labels = draw(300, 1.5)
    folds = assign_folds([str(i // 3) for i in range(300)])
    probabilities, temperatures = cross_fit(logits, labels, folds)
    for fold in range(5):
        held = folds == fold
        assert temperatures[fold] == fit_temperature(logits[~held], labels[~held])
        np.testing.assert_array_equal(probabilities[held], soften(logits[held], temperatures[fold]))
        other = labels.copy()  # whatever the labels of a fold are, its own probabilities stay
        other[held] = 2 - other[held]
        again, _ = cross_fit(logits, other, folds)
        np.testing.assert_array_equal(again[held], probabilities[held])
        assert (again[~held] != probabilities[~held]).any()


def test_the_floor_falls_with_the_number_of_faces() -> None:
    floors = [ece_floor(np.linspace(0.3, 0.99, count), draws=50) for count in (100, 3_000, 100_000)]
    assert floors[0] > floors[1] > floors[2]
    assert floors[2] < 0.005
    # One face of confidence 0.8: 0.2 off with 8 in 10, 0.8 with 2 in 10, so 0.32 on average.
    assert ece_floor(np.array([0.8]), draws=2_000) == pytest.approx(0.32, abs=0.03)
    assert ece_floor(np.array([1.0] * 9)) == 0


def test_figures(make_predictions) -> None:
    logits, labels = draw(4_000, 2.0)
    made = make_predictions([0] * 4_000, [0] * 4_000)
    predictions = replace(made, probabilities=soften(logits, 0.5).astype(np.float32), labels=labels)
    figures = calibration_figures(predictions, 0.5)
    assert figures["temperature"] == pytest.approx(2.0, rel=0.1)
    assert figures["ece_before"] == top_label_ece(predictions.probabilities.max(1), predictions.correct) > 0.1
    assert figures["ece_cross_fitted"] < 0.03
    assert 0.005 < figures["ece_floor"] < 0.02
    assert (figures["folds"], len(figures["fold_temperatures"])) == (5, 5)
    assert figures == calibration_figures(predictions, 0.5)
