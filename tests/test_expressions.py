from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apvit.expressions import (
    EXPRESSIONS,
    LABEL_SPACES,
    OPTIONAL_EXPRESSIONS,
    LabelSpace,
    LabelSpaceError,
    get_label_space,
    label_map,
)

# The orders as the datasets' own files spell them; RAF-DB's file labels count from 1.
FILE_ORDERS = {
    "raf-db": "Surprise Fear Disgust Happiness Sadness Anger Neutral",
    "expw": "angry disgust fear happy sad surprise neutral",
    "ferplus": "neutral happiness surprise sadness anger disgust fear contempt",
    "affectnet-8": "Neutral Happiness Sadness Surprise Fear Disgust Anger Contempt",
    "affectnet-7": "Neutral Happiness Sadness Surprise Fear Disgust Anger",
    "aff-wild2": "Neutral Anger Disgust Fear Happiness Sadness Surprise Other",
    "sfew": "Angry Disgust Fear Happy Neutral Sad Surprise",
    "apvit-official-7": "Anger Disgust Fear Sadness Happiness Surprise Neutral",
    "apvit-official-8": "Anger Disgust Fear Sadness Happiness Surprise Neutral Contempt",
}
CANONICAL = {"angry": "anger", "happy": "happiness", "sad": "sadness"}


def test_every_space_is_covered_by_this_table():
    assert set(FILE_ORDERS) == set(LABEL_SPACES)


@pytest.mark.parametrize(("name", "order"), FILE_ORDERS.items())
def test_order_of_the_dataset_files(name, order):
    expected = tuple(CANONICAL.get(word.lower(), word.lower()) for word in order.split())
    assert get_label_space(name).expressions == expected


def test_sfew_is_alphabetical():
    folders = FILE_ORDERS["sfew"].split()
    assert folders == sorted(folders)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("raf-db", "apvit-official-7", (5, 2, 1, 4, 3, 0, 6)),
        ("apvit-official-7", "raf-db", (5, 2, 1, 4, 3, 0, 6)),
        ("expw", "sfew", (0, 1, 2, 3, 5, 6, 4)),
        ("ferplus", "affectnet-8", (0, 1, 3, 2, 6, 5, 4, 7)),
        ("ferplus", "raf-db", (6, 3, 0, 4, 5, 2, 1, None)),
        ("affectnet-8", "affectnet-7", (0, 1, 2, 3, 4, 5, 6, None)),
        ("affectnet-7", "affectnet-8", (0, 1, 2, 3, 4, 5, 6)),
        ("apvit-official-8", "apvit-official-7", (0, 1, 2, 3, 4, 5, 6, None)),
        ("aff-wild2", "affectnet-8", (0, 6, 5, 4, 1, 2, 3, None)),
        ("ferplus", "aff-wild2", (0, 4, 6, 5, 1, 2, 3, None)),
    ],
)
def test_map(source, target, expected):
    assert label_map(get_label_space(source), get_label_space(target)) == expected


@pytest.mark.parametrize("source", LABEL_SPACES)
@pytest.mark.parametrize("target", LABEL_SPACES)
def test_a_map_keeps_the_meaning_and_drops_only_contempt_and_other(source, target):
    a, b = LABEL_SPACES[source], LABEL_SPACES[target]
    for label, mapped in enumerate(label_map(a, b)):
        if mapped is None:
            assert a.expressions[label] in OPTIONAL_EXPRESSIONS - set(b.expressions)
        else:
            assert b.expressions[mapped] == a.expressions[label]


def test_spaces_that_do_not_fit():
    few = LabelSpace("few", ("neutral", "happiness"))
    with pytest.raises(LabelSpaceError, match=r"'few' lacks surprise, fear, disgust, sadness, anger of 'raf-db'"):
        label_map(get_label_space("raf-db"), few)


@pytest.mark.parametrize(
    ("name", "expressions", "message"),
    [
        ("a", ("neutral", "happy"), r"unknown expression 'happy'; known are"),
        ("b", ("neutral", "neutral"), "names an expression twice"),
        ("c", ("neutral",), "at least two"),
        ("d", (), "at least two"),
    ],
)
def test_malformed_spaces(name, expressions, message):
    with pytest.raises(LabelSpaceError, match=message):
        LabelSpace(name, expressions)


def test_unknown_names():
    with pytest.raises(LabelSpaceError, match=r"unknown label space 'fer'; known are raf-db, ferplus"):
        get_label_space("fer")
    with pytest.raises(LabelSpaceError, match=r"'raf-db' has no 'contempt'"):
        get_label_space("raf-db").index("contempt")


@given(st.permutations(EXPRESSIONS), st.permutations(EXPRESSIONS))
def test_maps_between_orders_of_one_set_are_inverse(a, b):
    there = label_map(LabelSpace("a", tuple(a)), LabelSpace("b", tuple(b)))
    back = label_map(LabelSpace("b", tuple(b)), LabelSpace("a", tuple(a)))
    assert [back[i] for i in there] == list(range(len(EXPRESSIONS)))


def test_index_is_the_inverse_of_the_order():
    for space in LABEL_SPACES.values():
        assert [space.index(expression) for expression in space.expressions] == list(range(len(space)))
