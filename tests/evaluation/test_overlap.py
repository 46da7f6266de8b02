"""Faces that also stand in another split of the same folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from apvit.data import SplitMetadata, write_split
from apvit.evaluation.overlap import Neighbours, overlap_figures
from apvit.expressions import get_label_space


@pytest.fixture
def folder(tmp_path: Path, make_rows) -> Path:
    """Validation shares the group a with train, and b with train and test."""
    for name, groups in (("train", "abc"), ("valid", "abxyz"), ("test", "bq")):
        metadata = SplitMetadata("ferplus", name, get_label_space("ferplus"))
        write_split(tmp_path / f"{name}.parquet", make_rows([0] * len(groups), group=groups), metadata)
    return tmp_path


@pytest.mark.parametrize("given", ["folder", "file"])
def test_shared_faces_are_counted_and_left_out(folder: Path, given: str, make_predictions) -> None:
    neighbours = Neighbours.of(folder if given == "folder" else folder / "valid.parquet", "valid")
    assert neighbours.groups == {"train": {"a", "b", "c"}, "test": {"b", "q"}}
    # The two shared faces are right, and one of the three others.
    predictions = make_predictions([0, 1, 0, 1, 2], [0, 1, 0, 0, 0], groups=list("abxyz"))
    figures = overlap_figures(predictions, neighbours, resamples=100)
    assert figures["shared"] == {"train": 2, "test": 1}
    assert figures["faces"] == 2
    assert figures["without"]["faces"] == 3
    assert figures["without"]["accuracy"] == pytest.approx(1 / 3)
    assert figures["without"]["mean_class_accuracy"] == pytest.approx(1 / 3)
    assert set(figures["without"]["intervals"]) == {"accuracy", "mean_class_accuracy", "macro_f1", "ece"}


def test_figures_without_are_left_away_where_they_say_nothing(folder: Path, make_predictions) -> None:
    neighbours = Neighbours.of(folder, "valid")
    none = overlap_figures(make_predictions([0, 1], [0, 1]), neighbours)
    assert none == {"shared": {"train": 0, "test": 0}, "faces": 0, "without": None}
    everything = overlap_figures(make_predictions([0, 1], [0, 1], groups=["a", "b"]), neighbours)
    assert (everything["faces"], everything["without"]) == (2, None)


def test_nothing_is_looked_for_without_neighbours(tmp_path: Path, make_predictions) -> None:
    assert Neighbours.of(tmp_path / "elsewhere.zip", "valid").groups == {}
    assert overlap_figures(make_predictions([0], [0]), Neighbours({})) is None


def test_a_file_of_another_name_has_no_neighbours(folder: Path) -> None:
    """Its folder may hold anything; only what `prepare` wrote there belongs together."""
    (folder / "valid.parquet").rename(folder / "mine.parquet")
    assert Neighbours.of(folder / "mine.parquet", "valid").groups == {}
