"""A teacher's probabilities in the targets, and what cannot teach."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from tests.training.bars import small_recipe

from apvit.data import open_split
from apvit.engines import create_engine
from apvit.training import Recipe, TrainingError, train
from apvit.training.batches import Faces
from apvit.training.pixels import Store
from apvit.training.processes import this_process
from apvit.training.teaching import taught


@pytest.fixture(scope="module")
def teacher(bars, tmp_path_factory):
    folder = train(small_recipe(bars, tmp_path_factory.mktemp("teacher") / "run"))
    return str(folder / "best.safetensors")


@pytest.fixture(scope="module")
def second(bars, tmp_path_factory):
    folder = train(small_recipe(bars, tmp_path_factory.mktemp("second") / "run", seed=1, epochs=1))
    return str(folder / "best.safetensors")


@pytest.fixture
def faces(bars, teacher, tmp_path):
    card = create_engine(teacher).card
    split = open_split(str(bars), "train")
    store = Store(1e9, tmp_path, this_process())
    return split, card, Faces.of([split], card.preprocessing, "votes", store)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_targets_are_mixed_with_the_mean_of_the_face_and_its_mirror(faces, teacher, share):
    split, card, own = faces
    mixed = taught(own, [teacher], share, card.preprocessing, split.metadata.labels)
    engine, pixels = create_engine(teacher), own.pixels[:, 0].numpy()
    said = [
        engine.run(card.preprocessing.normalise(np.ascontiguousarray(x))).probabilities
        for x in (pixels, pixels[:, :, ::-1])
    ]
    expected = own.targets.numpy() * (1 - share) + (said[0] + said[1]) / 2 * share
    np.testing.assert_allclose(mixed.targets, expected, atol=1e-6)
    torch.testing.assert_close(mixed.targets.sum(1), torch.ones(len(own)))


def test_several_teachers_are_an_ensemble(faces, teacher, second):
    split, card, own = faces
    of = {
        names: taught(own, list(names), 0.5, card.preprocessing, split.metadata.labels).targets
        for names in [(teacher,), (second,), (teacher, second)]
    }
    assert not torch.equal(of[teacher,], of[second,])
    torch.testing.assert_close(of[teacher, second], (of[teacher,] + of[second,]) / 2)


def test_a_run_with_a_teacher_says_so_in_its_recipe_and_card(bars, teacher, tmp_path):
    folder = train(small_recipe(bars, tmp_path / "run", teachers=[teacher], teacher_share=0.7))
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["teachers"] == [teacher]
    assert json.loads((folder / "summary.json").read_text())["best"]["accuracy"] > 0.3
    recipe = create_engine(folder / "best.safetensors").card.provenance["recipe"]
    assert (recipe["teachers"], recipe["teacher_share"]) == (["run/best.safetensors"], 0.7)


def test_another_framing_cannot_teach(faces, teacher):
    split, card, own = faces
    with pytest.raises(TrainingError, match="reads faces of alignment, size and colour"):
        taught(own, [teacher], 0.5, replace(card.preprocessing, alignment=None), split.metadata.labels)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target": "probability"}, "cannot be mixed into target 'probability'"),
        ({"target": "multi-target"}, "cannot be mixed"),
        ({"augmentation_policy": "paper"}, "policy 'paper'"),
        ({"teacher_share": 1.0}, "teacher_share"),
    ],
)
def test_what_does_not_fit_a_teacher_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Recipe(teachers=["x.safetensors"], **fields)
