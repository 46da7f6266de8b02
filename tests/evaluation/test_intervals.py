"""Bootstrap intervals against figures worked out by hand, and against what 95 % should mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from apvit.evaluation import expression_metrics
from apvit.evaluation.intervals import draws, metric_intervals, percentile_interval, resampled_means
from apvit.evaluation.predictions import Predictions
from apvit.expressions import get_label_space

SPACE = get_label_space("ferplus")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_an_undisturbed_resample_gives_the_figures_of_torchmetrics(data: st.DataObject) -> None:
    """With all faces in one group every resample is the data itself."""
    count = data.draw(st.integers(1, 12))
    labels = data.draw(arrays.arrays(np.int64, count, elements=st.integers(0, 7)))
    scores = data.draw(arrays.arrays(np.float32, (count, 8), elements=st.floats(0, 4, width=32)))
    # Where two classes tie, torchmetrics and numpy might name different ones.
    probabilities = np.exp(scores + np.arange(8, dtype=np.float32) * 1e-3)
    probabilities /= probabilities.sum(1, keepdims=True)
    names = [str(i) for i in range(count)]
    predictions = Predictions(SPACE, SPACE, probabilities, labels, names, ["same"] * count, None, None, {})
    figures = expression_metrics(probabilities, labels, SPACE)
    intervals = metric_intervals(predictions, resamples=3)
    for name in ("accuracy", "mean_class_accuracy", "macro_f1", "ece"):
        assert intervals[name] == pytest.approx([figures[name]] * 2, abs=1e-5), name
    for name, row in figures["per_class"].items():
        for key in ("recall", "f1"):
            expected = [row[key]] * 2 if row["faces"] else None
            assert intervals["per_class"][name][key] == (expected and pytest.approx(expected, abs=1e-6))


def test_two_groups_by_hand(make_predictions) -> None:
    """Two right faces in one group and a wrong one in another: accuracy is 1, 2/3 or 0, with chances 1/4, 1/2, 1/4."""
    predictions = make_predictions([0, 1, 2], [0, 1, 0], groups=["a", "a", "b"])
    samples = resampled_means(predictions.correct[:, None], predictions.groups, resamples=4000, seed=1)[:, 0]
    values, counts = np.unique(samples.round(6), return_counts=True)
    assert values.tolist() == pytest.approx([0, 2 / 3, 1], abs=1e-6)
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert metric_intervals(predictions)["accuracy"] == [0, 1]


def test_an_interval_is_the_central_part() -> None:
    assert percentile_interval(np.arange(1001)).tolist() == pytest.approx([25, 975])
    assert percentile_interval(np.arange(11), level=0.8).tolist() == pytest.approx([1, 9])


def test_draws_are_seeded_and_complete() -> None:
    first, again, other = (list(draws(5, 20, seed)) for seed in (0, 0, 1))
    assert all(drawn.sum() == 5 for drawn in first)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_copies_of_faces_do_not_narrow_an_interval() -> None:
    right = np.arange(40) % 3 == 0
    alone = resampled_means(right[:, None], [str(i) for i in range(40)], resamples=500, seed=0)
    copied = resampled_means(right.repeat(5)[:, None], [str(i) for i in np.arange(40).repeat(5)], resamples=500, seed=0)
    assert copied == pytest.approx(alone)


def test_columns_are_paired() -> None:
    right = np.random.default_rng(0).random((60, 1)) < 0.5
    samples = resampled_means(np.hstack([right, right]), [str(i) for i in range(60)], resamples=50, seed=0)
    assert np.array_equal(samples[:, 0], samples[:, 1])


def test_the_interval_covers_the_truth_about_95_times_in_100() -> None:
    random = np.random.default_rng(0)
    groups = [str(i) for i in range(150)]
    covered = 0
    for trial in range(300):
        right = random.random((150, 1)) < 0.7
        low, high = percentile_interval(resampled_means(right, groups, resamples=200, seed=trial)[:, 0])
        covered += low <= 0.7 <= high
    assert 0.91 <= covered / 300 <= 0.98
