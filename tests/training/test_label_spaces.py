"""Wherever the classes of two label spaces meet, they meet by name: starting weights, teachers, splits, resuming."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.bars import SMALL, small_recipe

import apvit
from apvit.data import FaceRow, open_split, write_split
from apvit.engines import create_engine
from apvit.evaluation import evaluate
from apvit.evaluation.provenance import relate
from apvit.expressions import LABEL_SPACES, LabelSpace
from apvit.files import sha256
from apvit.nn import create_model
from apvit.training import TrainingError, train
from apvit.training.batches import Faces
from apvit.training.pixels import Store
from apvit.training.processes import this_process
from apvit.training.starting import load_by_name
from apvit.training.targets import split_targets
from apvit.training.teaching import taught
from apvit.weights import Preprocessing, read_card

FERPLUS = LABEL_SPACES["ferplus"]
OTHERS = {
    "the same": FERPLUS,
    "another order": LABEL_SPACES["affectnet-8"],
    "seven of the eight": LABEL_SPACES["raf-db"],
    "three of them": LabelSpace("folder", ("anger", "neutral", "happiness")),
    "one that is new": LABEL_SPACES["aff-wild2"],  # other instead of contempt
    "all and one more": LabelSpace("folder", ("other", *reversed(FERPLUS.expressions))),
}
BY_NAME = pytest.mark.parametrize("space", OTHERS.values(), ids=OTHERS)


@pytest.fixture(scope="module")
def weights(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of FER+'s eight classes, each row of its classifier another."""
    path = tmp_path_factory.mktemp("weights") / "eight.safetensors"
    run = train(small_recipe(bars, path.parent / "run", epochs=1))
    model, card = apvit.load_weights(run / "last.safetensors")
    torch.nn.init.normal_(model.head.weight)
    torch.nn.init.normal_(model.head.bias)
    apvit.save_weights(model, card, path)
    return path


def relabeled(data: Path, folder: Path, spaces: dict[str, LabelSpace]) -> Path:
    """The dataset's splits, each numbered by a label space of its own; faces that it lacks have no label."""
    for split_name, space in spaces.items():
        split = open_split(data, split_name)
        names = [split.metadata.labels.expressions[label] if label >= 0 else None for label in split.labels]
        numbers = [space.index(name) if name in space.expressions else None for name in names]
        rows = map(FaceRow, split.images, split.sources, numbers, split.groups)
        metadata = replace(split.metadata, dataset="folder", labels=space, vote_names=None)
        write_split(folder / f"{split_name}.parquet", rows, metadata)
    return folder


@BY_NAME
@pytest.mark.parametrize("architecture", ["apvit_tiny", "transfer_base"])
def test_rows_of_the_classifier(architecture: str, space: LabelSpace) -> None:
    fields = {name: value for name, value in SMALL.items() if architecture == "apvit_tiny" or name != "token_keep"}
    given = create_model(architecture, **fields, num_classes=8)
    for tensor in given.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape))
    model = create_model(architecture, **fields, num_classes=len(space))
    assert load_by_name(model, space, given, FERPLUS) == []
    for row, name in enumerate(space.expressions):
        for own, theirs in zip(model.head.parameters(), given.head.parameters(), strict=True):
            new = torch.zeros_like(own[row])
            assert torch.equal(own[row], theirs[FERPLUS.index(name)] if name in FERPLUS.expressions else new), name
    own = model.state_dict()
    assert all(torch.equal(own[name], x) for name, x in given.state_dict().items() if not name.startswith("head."))


@pytest.mark.parametrize("change", [{"dim": 16}, {"depth": 1, "token_keep": (1,)}, {"depth": 3, "token_keep": None}])
def test_another_body_is_refused_whole(change: dict[str, object]) -> None:
    given = create_model("apvit_tiny", **{**SMALL, **change}, num_classes=8)
    model = create_model("apvit_tiny", **SMALL, num_classes=8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert load_by_name(model, FERPLUS, given, FERPLUS)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_run_starts_from_the_rows_of_its_expressions(
    weights: Path, bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = OTHERS["one that is new"]
    data = relabeled(bars, tmp_path / "data", {"train": space, "valid": space})
    fields = {"target": "label", "learning_rate": 1e-9, "epochs": 1, "average_decay": 0.0}
    folder = train(small_recipe(data, tmp_path / "run", init=str(weights), **fields))
    taken = ", ".join(name for name in space.expressions if name != "other")
    assert f"of its classifier the rows of {taken}; new rows for other" in capsys.readouterr().err
    model, card = apvit.load_weights(folder / "last.safetensors")
    given = apvit.load_weights(weights)[0].head.weight
    for row, name in enumerate(space.expressions):
        expected = torch.zeros(given.shape[1]) if name == "other" else given[FERPLUS.index(name)]
        torch.testing.assert_close(model.head.weight[row], expected, atol=2e-3, rtol=2e-3)  # stored in 16 bits
    (origin,), used = (card.provenance[name] for name in ("started_from", "weights_used"))
    assert origin["dataset"] == "ferplus"
    assert used == {"/".join(weights.parts[-2:]): sha256(weights)} == {origin["weights"]: origin["sha256"]}
    assert relate(card, open_split(bars, "train")).trained_on > 0


@BY_NAME
def test_what_a_teacher_says(weights: Path, bars: Path, tmp_path: Path, space: LabelSpace) -> None:
    card = read_card(weights)
    data = relabeled(bars, tmp_path / "data", {"valid": space})
    faces = Faces.of([open_split(data, "valid")], card.preprocessing, "label", Store(1e9, tmp_path, this_process()))
    if unknown := [name for name in space.expressions if name not in FERPLUS.expressions]:
        with pytest.raises(TrainingError, match=f"does not know {unknown[0]} and would teach that no face shows it"):
            taught(faces, [str(weights)], 0.5, card.preprocessing, space)
        return
    said = (taught(faces, [str(weights)], 0.9, card.preprocessing, space).targets - 0.1 * faces.targets) / 0.9
    engine, pixels = create_engine(weights, "torch", "cpu"), faces.pixels[:, 0].numpy()
    both = [engine.run(card.preprocessing.normalise(np.ascontiguousarray(x))) for x in (pixels, pixels[:, :, ::-1])]
    mean = (both[0].probabilities + both[1].probabilities) / 2
    mine = mean[:, [FERPLUS.index(name) for name in space.expressions]]
    np.testing.assert_allclose(said, mine / mine.sum(1, keepdims=True), atol=1e-5)


@BY_NAME
@pytest.mark.parametrize("target", ["label", "votes", "majority"])
def test_targets_of_a_split(bars: Path, space: LabelSpace, target: str) -> None:
    split = open_split(bars, "train")
    own, moved = split_targets(split, target), split_targets(split, target, space)
    known = [name for name in space.expressions if name in FERPLUS.expressions]
    mine = own[:, [FERPLUS.index(name) for name in known]]
    total = mine.sum(1, keepdims=True)
    expected = np.divide(mine, total, out=np.zeros_like(mine), where=total > 0)
    np.testing.assert_allclose(moved[:, [space.index(name) for name in known]], expected, atol=1e-6)
    assert set(moved.sum(1).round(5)) <= {0, 1}


def test_splits_that_number_their_expressions_otherwise(bars: Path, tmp_path: Path) -> None:
    data = relabeled(bars, tmp_path / "data", {"train": FERPLUS, "valid": OTHERS["another order"]})
    folder = train(small_recipe(data, tmp_path / "run", epochs=3, target="label"))
    (measured,) = read_card(folder / "best.safetensors").metrics
    again = evaluate(create_engine(folder / "best.safetensors", "torch", "cpu"), open_split(data, "valid"))
    assert (measured["faces"], measured["accuracy"]) == (again["faces"], pytest.approx(again["accuracy"]))
    assert measured["accuracy"] > 0.5  # of three classes


def test_faces_of_expressions_without_a_class_are_counted(
    bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split, space, store = open_split(bars, "valid"), OTHERS["three of them"], Store(1e9, tmp_path, this_process())
    preprocessing = Preprocessing(None, 48, "grey", (0.0,), (1.0,))
    surprised = int((split.labels == FERPLUS.index("surprise")).sum())
    faces = Faces.of([split], preprocessing, "label", store, labels=space)
    assert f"no class for them: {surprised} of surprise\n" in capsys.readouterr().err
    assert len(faces) == (split.labels >= 0).sum() - surprised


def test_a_run_is_not_resumed_with_another_numbering(bars: Path, tmp_path: Path) -> None:
    data = relabeled(bars, tmp_path / "data", dict.fromkeys(("train", "valid"), FERPLUS))
    folder = train(small_recipe(data, tmp_path / "run", epochs=1, target="label"))
    relabeled(bars, data, dict.fromkeys(("train", "valid"), OTHERS["another order"]))
    again = small_recipe(data, folder, epochs=2, target="label", resume=True)
    with pytest.raises(TrainingError, match=r"trained on the expressions neutral, happiness, surprise, .*with init"):
        train(again)
    written = folder / "environment.json"
    made = json.loads(written.read_text())
    written.write_text(json.dumps({name: value for name, value in made.items() if name != "labels"}))
    train(again)  # an older release did not write them down
