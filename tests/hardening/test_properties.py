"""Whatever a card, a split's metadata, a template or a keep schedule holds: it is read as written, or refused."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from apvit.data.errors import DataError
from apvit.data.rows import SplitMetadata
from apvit.engines import EngineError, Keep
from apvit.expressions import LABEL_SPACES
from apvit.faces.alignment import TEMPLATES, AlignmentError, AlignmentTemplate, similarity
from apvit.nn import APViTConfig
from apvit.weights import Card, CardError, read_card

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)

METADATA = SplitMetadata(
    "ferplus",
    "train",
    LABEL_SPACES["ferplus"],
    protocol="majority",
    vote_names=("neutral", "NF"),
    alignment="ferplus-48-v1",
    counts={"rows": 3, "per_class": {"neutral": 3}},
    inputs={"label.csv": "ab"},
    leaks={"dropped": 1},
    attribute_names=("age",),
    alignment_template=TEMPLATES["ferplus-48-v1"].to_dict(),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [deeper for key, item in items for deeper in ((*path, key), *places(item, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """The JSON object `text` with one to three values replaced, dropped, or joined by new ones."""
    value = json.loads(text)
    for _ in range(draw(st.integers(1, 3))):
        *outer, key = draw(st.sampled_from(places(value)))
        inner = value
        for step in outer:
            inner = inner[step]
        match draw(st.sampled_from(["replace", "swap", "drop", "add"])):
            case "replace":
                inner[key] = draw(JSON)
            case "swap":
                inner[key] = copy.deepcopy(
                    draw(st.sampled_from(list(inner.values() if isinstance(inner, dict) else inner)))
                )
            case "drop":
                del inner[key]
            case "add" if isinstance(inner, dict):
                inner[draw(st.text(max_size=5))] = draw(JSON)
        if not places(value):
            break
    return json.dumps(value)


@pytest.fixture(scope="module")
def card_json(weights: Path) -> str:
    return read_card(weights).to_json()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_card_is_refused_or_means_what_it_says(card_json: str, data: st.DataObject) -> None:
    """What is read is what stands there: writing it again gives an equal card, and nothing was left out or made up."""
    text = data.draw(mutated(card_json))
    with suppress(CardError):
        card = Card.from_json(text)
        assert Card.from_json(card.to_json()) == card
        if json.loads(text)["format"] == json.loads(card_json)["format"]:
            assert json.loads(card.to_json()) == json.loads(text)


@settings(max_examples=300, deadline=None)
@given(mutated(METADATA.to_json()))
@example("[" * 100_000)
@example("{}")
def test_mutated_metadata_of_a_split_is_refused_or_comes_back(text: str) -> None:
    with suppress(DataError):
        metadata = SplitMetadata.from_json(text)
        assert SplitMetadata.from_json(metadata.to_json()).to_json() == metadata.to_json()
        assert all(isinstance(v, str) for v in (metadata.dataset, metadata.split, metadata.labels.name))
        assert all(isinstance(v, dict) for v in (metadata.counts, metadata.inputs, metadata.leaks))


@settings(max_examples=200, deadline=None)
@given(mutated(json.dumps(TEMPLATES["ferplus-48-v1"].to_dict())))
def test_a_mutated_template_is_refused_or_comes_back(text: str) -> None:
    with suppress(AlignmentError):
        template = AlignmentTemplate.from_dict(json.loads(text))
        assert AlignmentTemplate.from_dict(json.loads(json.dumps(template.to_dict()))) == template


@settings(max_examples=300, deadline=None)
@given(*[st.lists(st.tuples(st.floats(), st.floats()), min_size=5, max_size=5)] * 2)
@example([(1e200, 0), (0, 1), (1, 1), (2, 0), (0, 0)], [(1, 0), (0, 1), (1, 1), (2, 0), (0, 0)])
@example([(1e-200, 0), (0, 1e-200), (1e-200, 1e-200), (0, 0), (0, 0)], [(1, 0), (0, 1), (1, 1), (2, 0), (0, 0)])
def test_a_similarity_of_any_numbers_is_finite_and_never_mirrors(
    source: list[tuple[float, float]], target: list[tuple[float, float]]
) -> None:
    with suppress(AlignmentError):
        matrix = similarity(source, target)
        assert np.isfinite(matrix).all()
        assert np.linalg.det(matrix[:, :2]) >= 0


KEEPS = st.integers(1, 200) | st.floats(0, 1, exclude_min=True, allow_subnormal=False)


@settings(max_examples=200, deadline=None)
@given(st.none() | KEEPS, st.none() | st.lists(KEEPS, min_size=1, max_size=5))
def test_a_keep_schedule_fits_or_is_refused(patches: float | None, tokens: list[float] | None) -> None:
    """No stage keeps nothing, or more than it was given; and JSON does not turn a rate of 1.0 into a count of 1."""
    values = {"depth": 3, "patch_keep": patches, "token_keep": tokens}
    try:
        config = APViTConfig.from_dict(values)
    except ValueError:
        return
    counts = (config.num_patches, config.patch_count, *config.token_counts)
    assert list(counts) == sorted(counts, reverse=True)
    assert min(counts) >= 1
    assert len(config.token_counts) == 3
    assert APViTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@given(st.text(max_size=12) | st.from_regex(r"[0-9.e:,\-]{1,12}", fullmatch=True))
def test_any_text_is_a_keep_setting_or_refused(text: str) -> None:
    with suppress(EngineError):
        keep = Keep.parse(text)
        for kept in (keep.patches, *(keep.tokens or ())):
            assert kept is None or (isinstance(kept, int) and kept >= 1) or 0 < kept < 1
