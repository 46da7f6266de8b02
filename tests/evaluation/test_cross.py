"""Trained on A, tested on B: maps by name, faces without a class counted, misfits said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from apvit.engines import create_engine
from apvit.evaluation.cross import cross_cell, cross_markdown, write_cross
from apvit.evaluation.predictions import predict
from apvit.evaluation.provenance import describe_data, describe_weights
from apvit.machine import describe_machine

SEVEN = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")


@pytest.fixture(scope="module")
def path(weights_of) -> Path:
    return weights_of("eight", space="ferplus", provenance={"dataset": "ferplus"})


@pytest.fixture(scope="module")
def eight(path: Path):
    return create_engine(path, device="cpu")


def test_labels_that_the_data_lack(eight, make_split) -> None:
    """Weights of 8 classes on RAF-DB's 7: contempt cannot be right, and is left out of the second accuracy."""
    split = make_split([i % 7 for i in range(40)], space="raf-db", dataset="raf-db", split="test")
    cell = cross_cell(eight, split, resamples=100)
    predictions = predict(eight, split)
    assert cell["error"] is None
    assert (cell["trained_on"], cell["dataset"], cell["split"], cell["faces"]) == ("ferplus", "raf-db", "test", 40)
    assert cell["label_map"] == {name: name for name in SEVEN}
    assert cell["predicted_outside_labels"] == (predictions.predicted == 7).sum()
    within = predictions.probabilities[:, :7].argmax(1)
    assert cell["accuracy_within_labels"] == pytest.approx((within == predictions.labels).mean())
    assert cell["accuracy"] == pytest.approx(predictions.correct.mean())
    assert cell["interval"][0] <= cell["accuracy"] <= cell["interval"][1]


def test_labels_that_the_weights_lack(weights_of, make_split) -> None:
    seven = create_engine(weights_of("raf", SEVEN, space="raf-db"), device="cpu")
    cell = cross_cell(seven, make_split([0, 1, 7, 7, None]), resamples=100)
    assert (cell["faces"], cell["dropped"]) == (2, {"contempt": 2})
    assert cell["label_map"]["contempt"] is None
    assert cell["predicted_outside_labels"] == 0
    assert cell["accuracy_within_labels"] == cell["accuracy"]


def test_what_does_not_fit_is_a_cell_with_a_reason(eight, make_split) -> None:
    cell = cross_cell(eight, make_split([0], alignment="arcface-112"))
    assert "align the data to that template" in cell["error"]
    assert "accuracy" not in cell


def test_report(eight, path: Path, make_split, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    splits = {
        "ferplus": make_split(random.integers(0, 8, 30).tolist()),
        "wild": make_split(random.integers(0, 8, 30).tolist(), space="aff-wild2", dataset="aff-wild2"),
        "raf": make_split([0, 1], space="raf-db", dataset="raf-db", alignment="arcface-112"),
    }
    cells = [{"weights": "w", "data": n, **cross_cell(eight, s, resamples=100)} for n, s in splits.items()]
    record = {
        "weights": ["w"], "data": list(splits), "cells": cells, "resamples": 100, "seed": 0,
        "with": {
            "weights": [describe_weights(str(path), eight)],
            "data": [describe_data(name, split.metadata) for name, split in splits.items()],
            "machine": describe_machine(),
        },
    }  # fmt: skip
    write_cross(tmp_path, record)
    assert json.loads((tmp_path / "cross.json").read_text()) == record
    text = (tmp_path / "cross.md").read_text()
    assert text == cross_markdown(record)
    row = next(line for line in text.splitlines() if line.startswith("| w (ferplus)"))
    assert f"- weights w: `{path}`" in text
    assert row.count("*") == 1  # in its own domain only
    assert row.endswith("| does not fit |")
    assert "other -> left out" in text
    assert f"{cells[1]['dropped']['other']} other" in text
