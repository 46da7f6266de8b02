"""The folder that a researcher gets, and the sentences in it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from apvit.data import Split, SplitMetadata
from apvit.engines import create_engine
from apvit.evaluation.examine import examine
from apvit.evaluation.overlap import Neighbours
from apvit.evaluation.provenance import cautions, describe_data, describe_weights
from apvit.evaluation.report import faces_csv, markdown, write_report
from apvit.expressions import get_label_space
from apvit.machine import describe_machine

FERPLUS = get_label_space("ferplus")
LABELS = [0, 0, 0, 1, 1, 2, 3, 4, 0, 1] * 6
SAID = [0, 0, 1, 1, 1, 2, 0, 4, 0, 7] * 6


@pytest.fixture
def predictions(make_predictions):
    who = [("female",), ("male",)] * 30
    return make_predictions(
        LABELS, SAID, space=FERPLUS, data_space=get_label_space("raf-db"),
        groups=[f"g{i}" for i in range(60)], attributes=who, attribute_names=("gender",),
    )  # fmt: skip


@pytest.fixture
def record(predictions, weights: Path) -> dict[str, Any]:
    engine = create_engine(weights, "torch", "cpu")
    metadata = SplitMetadata(
        "raf-db", "test", get_label_space("raf-db"), protocol="classes=7", inputs={"list.txt": "ab" * 32},
        counts={"left_out": 3}, leaks={"also_in_train": {"rows": 5, "labelled": 4}, "dropped": 0},
    )  # fmt: skip
    neighbours = Neighbours({"train": frozenset({"g0", "g1", "elsewhere"})})
    return {
        **examine(predictions, neighbours, resamples=100),
        "name": "random",
        "cautions": cautions(engine.card, Split.from_rows([], metadata)),
        "with": {
            "weights": describe_weights(str(weights), engine),
            "data": describe_data("prepared/raf", metadata),
            "machine": describe_machine(),
        },
    }


def test_folder(record, predictions, tmp_path: Path) -> None:
    write_report(tmp_path / "report", record, predictions)
    files = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert files == ["confusion.png", "evaluation.json", "evaluation.md", "faces.csv", "reliability.png"]
    assert json.loads((tmp_path / "report" / "evaluation.json").read_text()) == record
    for name in ("confusion.png", "reliability.png"):
        with Image.open(tmp_path / "report" / name) as picture:
            assert min(picture.size) > 600


def test_faces_are_listed_with_their_probabilities(predictions) -> None:
    rows = list(csv.DictReader(faces_csv(predictions).splitlines()))
    assert len(rows) == 60
    assert (rows[2]["source"], rows[2]["label"], rows[2]["predicted"]) == ("face2.png", "neutral", "happiness")
    assert float(rows[2]["happiness"]) == pytest.approx(0.8)
    assert sum(float(rows[2][name]) for name in FERPLUS.expressions) == pytest.approx(1, abs=1e-5)


def test_markdown_says_what_matters(record) -> None:
    text = markdown(record)
    for part in (
        "# random on raf-db test, protocol classes=7",
        "60 faces; 6 predicted as an expression that the data do not label, all counted wrong",
        "3 more of the split are not here",
        "> The data do not say how their faces are framed; the weights expect ferplus-48-v1.",
        "Of the 60 faces, 2 also stand in train as prepared",
        "Before `apvit data prepare` dropped any, 4 labelled faces stand in train too.",
        "| figure | all 60 | 95 % | without shared, 58 | 95 % |",
        "| accuracy | 0.7000 |",
        "| contempt | 0 | – | – | 0.000 | – | – |",
        "![Confusion matrix](confusion.png)",
        "Largest gap among groups of at least 30 faces: ",
        f"SHA-256 {record['with']['weights']['sha256']}",
        f"run on torch {torch.__version__}, cpu, ",
        "float32\n",
        f"made from `list.txt`, SHA-256 {'ab' * 32}",
    ):
        assert part in text, part
    assert "Label order" not in text


def test_a_misordered_space_is_said_at_the_top(make_predictions, record) -> None:
    """Every sad face called surprised and the other way round, as between AffectNet and FER+."""
    labels = ([0, 1, 2, 3] * 60)[:240]
    wrong = make_predictions(labels, [{2: 3, 3: 2}.get(i, i) for i in labels], space=FERPLUS)
    found = examine(wrong, Neighbours({}), resamples=100)
    assert found["label_order"]["orders"]
    text = markdown({**record, **found})
    assert "> **Label order.** The labels look misordered: predicted sadness is labelled surprise" in text
    assert "Not looked for: there is no other prepared split" in text
