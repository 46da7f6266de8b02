"""What a figure says of itself, and whether weights were trained on the data that they are tested on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from apvit.data import FaceRow, Split, SplitMetadata
from apvit.engines import create_engine
from apvit.evaluation.provenance import (
    SAMPLE,
    cautions,
    describe_measurement,
    describe_weights,
    relate,
    same_dataset,
    short_names,
    training_data,
)
from apvit.expressions import get_label_space
from apvit.weights import Card, load_weights

FERPLUS = get_label_space("ferplus")
MANY = 3000
"""Faces of a training set that is larger than the sample of it."""


def faces(first: int, last: int, dataset: str = "folder", split: str = "train", **inputs: str) -> Split:
    """Pictures that need not be decoded, told apart by their numbers."""
    rows = [FaceRow(f"picture {i}".encode(), f"{i}.png", i % 8, str(i)) for i in range(first, last)]
    return Split.from_rows(rows, SplitMetadata(dataset, split, FERPLUS, alignment="ferplus-48-v1", inputs=inputs))


@pytest.fixture(scope="module")
def trained_on(weights_of) -> Callable[..., Card]:
    """A card whose weights were trained on these splits; `without` a field of its record."""
    _, card = load_weights(weights_of("related", space="ferplus"))

    def make(*splits: Split, without: str = "", started_from: list[dict[str, Any]] | None = None) -> Card:
        made = training_data(splits)
        made.pop(without, None)
        return replace(card, provenance=made if started_from is None else {**made, "started_from": started_from})

    return make


TRAIN = faces(0, MANY, pictures="a" * 64)


@pytest.mark.parametrize(
    ("tested", "same", "because"),
    [
        (TRAIN, True, "256 of 256 faces looked up were trained on"),
        (faces(0, MANY, pictures="b" * 64), True, "256 of 256"),  # prepared from another archive of the same pictures
        (faces(2000, 4000, split="test"), True, "faces looked up were trained on"),  # divided anew
        (faces(100, 900), True, "faces looked up were trained on"),  # a part of them
        (faces(0, 3000, "raf-db"), True, "256 of 256"),  # under another name
        (faces(MANY, 4000, split="valid", pictures="a" * 64), True, "both were made from pictures"),
        (faces(MANY, 6000, pictures="c" * 64), False, "they share no input, and none of"),
        (faces(MANY, 6000, "raf-db"), False, "they share no input, and none of"),
        (faces(MANY, MANY + 1), None, "these are too few"),
    ],
)
def test_a_folder_is_known_by_its_pictures(trained_on, tested: Split, same: bool | None, because: str) -> None:
    relation = relate(trained_on(TRAIN), tested)
    assert (relation.same_dataset, because in relation.because) == (same, True), relation
    assert 0 <= relation.trained_on <= relation.looked_up <= SAMPLE + 300


def test_how_many_of_the_faces_were_trained_on(trained_on) -> None:
    relation = relate(trained_on(TRAIN), faces(1500, 4500))
    assert relation.looked_up > 150
    assert relation.trained_on / relation.looked_up == pytest.approx(0.5, abs=0.1)
    (note,) = cautions(trained_on(TRAIN), faces(1500, 4500))
    assert "trained on about" in note


@pytest.mark.parametrize(
    ("trained", "tested", "same", "because"),
    [
        ("folder", faces(0, 9), None, "the card has no sample"),
        ("folder", faces(0, 9, pictures="a" * 64), True, "both were made from pictures"),
        ("folder", faces(0, 9, "raf-db"), None, "the card has no sample"),
        ("ferplus", faces(0, 9), None, "the card has no sample"),
        ("ferplus", faces(0, 9, "ferplus"), True, "both are ferplus"),
        ("ferplus", faces(0, 9, "raf-db"), False, "ferplus and raf-db are different datasets"),
    ],
)
def test_an_older_card_is_honest(trained_on, trained: str, tested: Split, same: bool | None, because: str) -> None:
    card = trained_on(faces(0, 9, trained, pictures="a" * 64), without="face_sample")
    relation = relate(card, tested)
    assert (relation.same_dataset, because in relation.because) == (same, True), relation


def test_a_card_without_training_data(trained_on) -> None:
    relation = relate(replace(trained_on(TRAIN), provenance={}), TRAIN)
    assert (relation.same_dataset, relation.because) == (None, "the card does not say what the weights were trained on")


def test_what_weights_started_from_was_trained_on_too(trained_on) -> None:
    card = trained_on(faces(MANY, 6000, pictures="c" * 64), started_from=[training_data([TRAIN])])
    assert relate(card, TRAIN).same_dataset is True
    assert relate(card, faces(7000, 9000)).same_dataset is False


@pytest.mark.parametrize(
    ("trained", "tested", "part"),
    [
        (("ferplus", "train"), ("ferplus", "train"), "trained on the train split of ferplus"),
        (("ferplus", "train+valid"), ("ferplus", "valid"), "trained on the valid split"),
        (("ferplus", "train"), ("ferplus", "valid"), "not test figures"),
        (("ferplus", "train"), ("ferplus", "test"), None),
        (("ferplus", "train"), ("raf-db", "train"), None),
        (("folder", "train"), ("folder", "train"), None),
        ((None, None), ("ferplus", "test"), None),
    ],
)
def test_cautions(trained_on, trained: tuple[str, str], tested: tuple[str, str], part: str | None) -> None:
    card = replace(trained_on(TRAIN), provenance=dict(zip(("dataset", "split"), trained, strict=True)))
    notes = cautions(card, faces(0, 9, *tested))
    assert len(notes) == (part is not None)
    assert part is None or part in notes[0]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"dataset": "raf-db", "inputs": {}}, {"dataset": "raf-db"}, True),
        ({"dataset": "raf-db"}, {"dataset": "sfew"}, False),
        ({"dataset": "folder", "inputs": {"x": "1"}}, {"dataset": "folder", "inputs": {"y": "1"}}, True),
        ({"dataset": "folder", "inputs": {"x": "1"}}, {"dataset": "folder", "inputs": {"x": "2"}}, None),
        ({"dataset": "folder"}, {"dataset": "folder"}, None),
    ],
)
def test_records_of_one_dataset(first: dict[str, Any], second: dict[str, Any], same: bool | None) -> None:
    assert same_dataset(first, second)[0] is same
    assert same_dataset(second, first)[0] is same


def test_a_figure_says_what_ran_the_network(weights: Path) -> None:
    engine = create_engine(weights, "torch", "cpu")
    runtime = {"engine": "torch", "version": torch.__version__, "device": "cpu", "threads": torch.get_num_threads()}
    runtime["precision"] = "float32"
    assert describe_weights(str(weights), engine)["runtime"] == runtime
    measured = describe_measurement(TRAIN.metadata, engine.runtime)
    assert (measured["runtime"], measured["inputs"]) == (runtime, {"pictures": "a" * 64})


@pytest.mark.parametrize(
    ("refs", "names"),
    [
        (["apvit_tiny.ferplus"], ["apvit_tiny.ferplus"]),
        (["runs/a/best.safetensors", "runs/b/best.safetensors", "apvit_tiny"], ["a/best", "b/best", "apvit_tiny"]),
        (["best.safetensors", "a/best.safetensors"], ["best", "a/best"]),
        (["prepared/raf/test.parquet", "prepared/sfew/test.parquet"], ["raf/test", "sfew/test"]),
        (["hf://owner/repo", "hf://other/repo"], ["owner/repo", "other/repo"]),
    ],
)
def test_short_names(refs: list[str], names: list[str]) -> None:
    assert short_names(refs) == names
