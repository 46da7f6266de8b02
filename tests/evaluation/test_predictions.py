"""Running an engine over a split: label maps, what is left out, what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from apvit.engines import Engine, create_engine
from apvit.evaluation import EvaluationError, evaluate
from apvit.evaluation.predictions import predict
from apvit.expressions import LabelSpaceError


@pytest.fixture(scope="module")
def engine(weights: Path) -> Engine:
    return create_engine(weights, device="cpu")


def test_batches_and_unlabelled_faces_change_nothing(engine: Engine, make_split) -> None:
    labels = [0, 1, None, 2, 3, 7, None, 0]
    split = make_split(labels)
    done: list[int] = []
    predictions = predict(engine, split, batch_size=4, progress=done.append)
    assert done == [4, 2]
    assert predictions.labels.tolist() == [0, 1, 2, 3, 7, 0]
    assert predictions.sources == [split.sources[i] for i in (0, 1, 3, 4, 5, 7)]
    faces = split.select([0, 1, 3, 4, 5, 7]).pixels("grey")
    expected = engine.run(engine.card.preprocessing.normalise(faces)).probabilities
    assert predictions.probabilities == pytest.approx(expected, abs=1e-5)


def test_labels_are_mapped_by_name_and_the_rest_is_counted(engine: Engine, make_split) -> None:
    """RAF-DB's first label is surprise, which is FER+'s third; Aff-Wild2's other has no class here."""
    raf = predict(engine, make_split([0, 3, 6], space="raf-db"))
    assert raf.labels.tolist() == [2, 1, 0]
    assert raf.dropped == {}
    wild = make_split([7, 0, 7], space="aff-wild2")
    assert predict(engine, wild).dropped == {"other": 2}
    figures = evaluate(engine, wild)
    assert (figures["faces"], figures["faces_outside_labels"]) == (1, 2)


def test_evaluate_gives_what_a_card_may_hold(engine: Engine, make_split) -> None:
    """Training stores these figures, without intervals and pictures, in the card."""
    figures = evaluate(engine, make_split([0, 1, 2]))
    assert list(figures) == [
        *("faces", "accuracy", "mean_class_accuracy", "macro_f1", "ece", "per_class", "confusion"),
        "faces_outside_labels",
    ]


def test_attributes_follow_their_faces(engine: Engine, make_split) -> None:
    who = [("male",), ("female",), ("female",)]
    predictions = predict(engine, make_split([0, None, 1], attributes=who, attribute_names=("gender",)))
    assert predictions.attributes == [("male",), ("female",)]
    assert predictions.attribute_names == ("gender",)
    assert predictions.select(np.array([False, True])).attributes == [("female",)]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": [0], "alignment": "arcface-112"}, EvaluationError, "framed by .*'arcface-112'.*'ferplus-48-v1'"),
        ({"labels": [None]}, EvaluationError, "no labelled face"),
        ({"labels": [7], "space": "aff-wild2"}, EvaluationError, "no labelled face"),
    ],
)
def test_refuses(engine: Engine, make_split, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        predict(engine, make_split(**options))


def test_a_class_that_the_weights_lack_is_an_error(make_split, weights_of) -> None:
    engine = create_engine(weights_of("two", ("neutral", "happiness")), device="cpu")
    with pytest.raises(LabelSpaceError, match="lacks"):
        predict(engine, make_split([0]))


def test_faces_of_another_size_are_resized(engine: Engine, make_split) -> None:
    assert len(predict(engine, make_split(labels=[0, 1], size=96))) == 2
