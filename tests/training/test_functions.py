"""The plain functions that the Lightning module calls: loss, schedule, decay, moving average, order, augmentation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from apvit.data.augmentation import Augmentation, augment, random_affine, random_erasing, random_light
from apvit.nn import create_model
from apvit.training.averaging import average_decay, update_average
from apvit.training.batches import EpochOrder, seed_for
from apvit.training.objective import smooth, soft_cross_entropy
from apvit.training.recipe import Recipe
from apvit.training.schedule import decay_groups, warmup_cosine

OFF = Augmentation(flip=0, rotate=0, scale=0, shift=0, brightness=0, contrast=0, erase=0)


def test_soft_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    target = torch.tensor([[0.5, 0.5], [0.25, 0.75]])
    expected = (math.log(2) + 0.25 * math.log(4 / 3) + 0.75 * math.log(4)) / 2
    assert soft_cross_entropy(logits, target).item() == pytest.approx(expected)


def test_smooth():
    assert smooth(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), 0.2).tolist() == [pytest.approx([0.85, 0.05, 0.05, 0.05])]


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (60, 0.5), (110, 0.0), (500, 0.0)]
)
def test_warmup_cosine(step, expected):
    assert warmup_cosine(step, total=110, warmup=10) == pytest.approx(expected)


def test_what_decays():
    model = create_model("apvit_tiny")
    decayed, kept = decay_groups(model, 0.05)
    names = {id(p): n for n, p in model.named_parameters()}
    assert len(decayed["params"]) + len(kept["params"]) == len(names)
    assert {names[id(p)].rsplit(".", 1)[-1] for p in decayed["params"]} == {"weight"}
    assert {"class_token", "class_position", "patch_position"} <= {names[id(p)] for p in kept["params"]}
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.05, 0.0)


def test_moving_average_by_hand():
    average, model = torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.running_mean.fill_(10.0)
        model.num_batches_tracked.fill_(7)
    update_average(average, model, 0.75)
    assert average.weight.item() == pytest.approx(0.75 * 1 + 0.25 * 3)
    assert average.running_mean.item() == pytest.approx(2.5)
    assert average.num_batches_tracked.item() == 7
    assert [average_decay(s, 0.9) for s in (0, 8, 1000)] == pytest.approx([0.1, 0.5, 0.9])


def test_order_is_a_function_of_seed_and_epoch():
    batches = list(EpochOrder(23, 5, seed=1, epoch=2))
    assert batches == list(EpochOrder(23, 5, seed=1, epoch=2))
    assert batches != list(EpochOrder(23, 5, seed=1, epoch=3))
    assert batches != list(EpochOrder(23, 5, seed=2, epoch=2))
    assert [len(b) for b in batches] == [5] * 4
    assert len({i for batch in batches for i in batch}) == 20
    with pytest.raises(ValueError, match="4 training faces do not fill one batch of 5"):
        EpochOrder(4, 5, 0, 0)


def test_seeds_differ():
    assert len({seed_for(a, b, c) for a in range(5) for b in range(5) for c in range(5)}) == 125


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_augmentation_only_normalises():
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    out = augment(images, torch.tensor([0.5]), torch.tensor([0.25]), OFF, generator())
    torch.testing.assert_close(out, (images / 255 - 0.5) / 0.25, atol=1e-5, rtol=0)


def test_flip_mirrors():
    images = torch.rand(2, 1, 6, 6)
    flipped = random_affine(images, Augmentation(flip=1, rotate=0, scale=0, shift=0), generator())
    torch.testing.assert_close(flipped, images.flip(-1), atol=1e-5, rtol=0)


def test_erasing_covers_the_share_it_says():
    images = torch.zeros(64, 1, 48, 48)
    erased = random_erasing(images, Augmentation(erase=1.0, erase_area=(0.1, 0.2)), generator()) != 0
    share = erased.float().mean((1, 2, 3))
    assert (share > 0.05).all()
    assert (share < 0.25).all()
    assert not random_erasing(images, Augmentation(erase=0.0), generator()).any()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**40), channels=st.integers(1, 3), size=st.integers(8, 32), count=st.integers(1, 5))
def test_augmentation_repeats_itself_and_stays_in_range(seed, channels, size, count):
    images = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator(1))
    mean, std = torch.zeros(channels), torch.ones(channels)
    a = augment(images, mean, std, Augmentation(), generator(seed))
    assert torch.equal(a, augment(images, mean, std, Augmentation(), generator(seed)))
    assert a.isfinite().all()
    light = random_light(images / 255, Augmentation(), generator(seed))
    assert light.min() >= 0
    assert light.max() <= 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Augmentation(flip=1.5), "flip.*1.5"),
        (lambda: Augmentation(rotate=200), "rotate.*200"),
        (lambda: Augmentation(erase_area=(0.5, 0.2)), "erase_area"),
        (lambda: Recipe(epochs=0), "epochs.*0"),
        (lambda: Recipe(learning_rate=0), "learning_rate"),
        (lambda: Recipe(average_decay=1.0), "average_decay.*1.0"),
        (lambda: Recipe(label_smoothing=-0.1), "label_smoothing"),
    ],
)
def test_wrong_fields(make, message):
    with pytest.raises(ValueError, match=message):
        make()
