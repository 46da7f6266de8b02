"""An explanation's maps agree with the network's own output, and lead back to pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from apvit.engines import EngineError
from apvit.engines.torch_engine import TorchEngine
from apvit.explain.explanation import SHOWN_CLASSES, explain
from apvit.explain.tracing import photograph_corners


@pytest.fixture(scope="module")
def engine(weights: Path) -> TorchEngine:
    return TorchEngine(weights, device="cpu")


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)


def test_maps_are_the_outputs(engine, faces):
    output = engine.run(engine.card.preprocessing.normalise(faces))
    explanations = list(explain(engine, faces, batch_size=2))
    assert len(explanations) == 3
    for i, one in enumerate(explanations):
        grid = engine.model.config.grid
        assert one.kept.shape == one.patch_scores.shape == (grid, grid)
        np.testing.assert_array_equal(np.flatnonzero(one.kept), output.patches[i])
        for mask, tokens in zip(one.alive, output.tokens, strict=True):
            np.testing.assert_array_equal(np.flatnonzero(mask), tokens[i])
        best = np.argsort(-output.probabilities[i], kind="stable")[:SHOWN_CLASSES]
        assert list(one.relevance) == [engine.card.labels.expressions[c] for c in best]
        for values in one.relevance.values():
            assert (values >= 0).all()
            assert (values[~one.kept] == 0).all()  # what APP dropped never was a token
        assert (one.attention[0][~one.kept] == 0).all()


def test_json(engine, faces):
    (one,) = explain(engine, faces[:1])
    values = json.loads(json.dumps(one.to_dict()))
    assert values["expression"] == one.expression
    assert np.array(values["kept"]).sum() == one.kept.sum()
    assert np.array(values["alive"]).shape == one.alive.shape


def test_only_torch_explains(faces):
    with pytest.raises(EngineError, match="use engine 'torch'"):
        next(explain(object(), faces))


@pytest.mark.parametrize(("needed", "open_"), [(0.0, False), (1.0, True)])
def test_an_unsure_face_is_left_open(engine, faces, needed, open_):
    (one,) = explain(engine, faces[:1], min_probability=needed)
    assert one.likeliest == max(one.probabilities, key=one.probabilities.__getitem__)
    assert one.expression == (None if open_ else one.likeliest)
    values = one.to_dict()
    assert values["expression"] == one.expression
    assert values["min_probability"] == needed
    assert len(values["probabilities"]) == len(engine.card.labels.expressions)


def test_maps_over_pixels(engine, faces):
    corners = photograph_corners(12, (60, 80), None, None) * 0.5 + (10, 20)  # the face lies in part of the photograph
    first, second = explain(engine, faces[:2], corners=[corners, corners])
    on_face = first.on_face(first.patch_scores)
    assert on_face.shape == (48, 48)
    np.testing.assert_array_equal(on_face, np.kron(first.patch_scores, np.ones((4, 4), np.float32)))
    on_photograph = second.on_photograph(second.kept, (60, 80, 3))
    assert on_photograph.shape == (60, 80)
    assert on_photograph.dtype == bool
    assert not on_photograph[:20].any()
    assert not on_photograph[50:].any()
    assert not on_photograph[:, :10].any()
    assert on_photograph.mean() == pytest.approx(second.kept.mean() / 4, abs=0.01)
    np.testing.assert_allclose(np.array(first.to_dict()["corners"]), corners, atol=1e-3)
    (alone,) = explain(engine, faces[:1])
    assert alone.to_dict()["corners"] is None
    with pytest.raises(ValueError, match=r"Recognizer\.explain"):
        alone.on_photograph(alone.kept, (60, 80))
