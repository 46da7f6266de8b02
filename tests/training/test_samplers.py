"""How often faces come, in which order, and how several processes share them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apvit.training.randomness import seed_for
from apvit.training.samplers import ProcessBatches, ceil_sqrt_repeats, epoch_order

RAF_DB = (1290, 281, 717, 4772, 1982, 705, 2524)  # surprise, fear, disgust, happiness, sadness, anger, neutral


def test_ceil_sqrt_on_raf_db():
    classes = np.repeat(np.arange(7), RAF_DB)
    repeats = ceil_sqrt_repeats(classes)
    assert [int(repeats[classes == c][0]) for c in range(7)] == [2, 3, 2, 1, 1, 2, 1]
    assert repeats.sum() == 15_545  # the official sampler's epoch
    counts = np.bincount(epoch_order(classes, "ceil-sqrt", seed=0, epoch=0))
    assert (counts == repeats).all()


def test_balanced():
    classes = np.repeat(np.arange(4), (50, 3, 0, 8))
    order = epoch_order(classes, "balanced", seed=0, epoch=0)
    assert len(order) == 61
    assert sorted(np.bincount(classes[order], minlength=4)) == [0, 20, 20, 21]
    for c in (0, 1, 3):  # nobody comes two times more often than another of the class
        comes = np.bincount(order, minlength=61)[classes == c]
        assert comes.max() - comes.min() <= 1
    assert (order != epoch_order(classes, "balanced", seed=0, epoch=1)).any()


@pytest.mark.parametrize("sampler", ["none", "ceil-sqrt", "balanced"])
def test_order_is_a_function_of_seed_and_epoch(sampler):
    classes = np.arange(60) % 7
    orders = [epoch_order(classes, sampler, seed, epoch).tolist() for seed, epoch in ((1, 2), (1, 2), (1, 3), (2, 2))]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != orders[3]


def test_every_face_once():
    assert sorted(epoch_order(np.zeros(23, int), "none", 0, 0)) == list(range(23))


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(36, 200),
    world=st.integers(1, 4),
    parts=st.integers(1, 3),
    share=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_processes_share_every_step_without_repetition(count, world, parts, share, seed):
    batch_size = world * parts * share
    order = epoch_order(np.zeros(count, int), "none", seed, 0)
    alone = list(ProcessBatches(order, batch_size))
    processes = [list(ProcessBatches(order, batch_size, rank=r, world=world, parts=parts)) for r in range(world)]
    assert all(len(batches) == len(alone) * parts for batches in processes)
    for step, faces in enumerate(alone):
        dealt = [i for batches in processes for part in batches[step * parts : (step + 1) * parts] for i in part]
        assert sorted(dealt) == sorted(faces)
    assert len({i for faces in alone for i in faces}) == len(alone) * batch_size


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 24}, "23 training faces do not fill one batch of 24"),
        ({"batch_size": 6, "world": 4}, r"batch_size 6 is not a multiple of 4 \(4 processes, 1 parts"),
        ({"batch_size": 6, "world": 2, "parts": 2}, "batch_size 6 is not a multiple of 4"),
    ],
)
def test_refusals(fields, message):
    with pytest.raises(ValueError, match=message):
        ProcessBatches(np.arange(23), **fields)


def test_seeds_differ():
    assert len({seed_for(a, b, c) for a in range(5) for b in range(5) for c in range(1, 6)}) == 125
