"""Two engines on the same faces: what the comparison says is what can be counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apvit.data import Split
from apvit.engines import Keep, create_engine
from apvit.evaluation.engine_accuracy import compare_engines, overlap
from apvit.evaluation.predictions import predict


@given(st.lists(st.sets(st.integers(0, 9), min_size=4, max_size=4), min_size=2, max_size=2))
def test_overlap_is_the_size_of_the_intersection(sets: list[set[int]]) -> None:
    a, b = (np.array([sorted(one)]) for one in sets)
    assert overlap(a, b).tolist() == [len(sets[0] & sets[1]) / 4]


def test_an_engine_with_itself(weights: Path, make_split: Callable[..., Split]) -> None:
    engine = create_engine(weights, "torch", "cpu")
    figures, said = compare_engines(engine, engine, make_split([0, 1, None, 2, 3]), batch_size=3, resamples=20)
    assert said["faces"] == figures["faces"] == 4
    assert (said["difference"], said["interval"]) == (0, [0, 0])
    assert said["same_expression"] == said["patches_kept"] == said["tokens_kept"] == 1
    assert figures["accuracy"] == said["accuracy"] == said["accuracy_float32"]
    assert "confusion" not in figures


def test_differences_are_counted_face_by_face(weights: Path, make_split: Callable[..., Split]) -> None:
    """Another keep with as many patches in place of another arithmetic: the labels are what the second says."""
    first = create_engine(weights, "torch", "cpu")
    tokens = tuple(first.card.parameters["token_keep"])
    changed = replace(first.card.preprocessing, mean=(0.7,))
    second = create_engine(weights, "torch", "cpu", keep=Keep(118, tokens))
    second._card = replace(second.card, preprocessing=changed)  # type: ignore[attr-defined]  # sees a darker face
    split = make_split([0] * 30)
    split = replace(split, labels=predict(second, split).predicted)
    done: list[int] = []
    _, said = compare_engines(first, second, split, resamples=50, progress=done.append)
    assert sum(done) == 60
    assert said["accuracy"] == 1
    assert said["accuracy_float32"] == said["same_expression"] == pytest.approx(1 - said["difference"])
    assert said["interval"][0] <= said["difference"] <= said["interval"][1]
    assert 0.5 < said["patches_kept"] <= 1
