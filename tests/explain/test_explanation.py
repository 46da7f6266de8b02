"""An explanation's maps agree with the network's own output, and its pictures can be drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from apvit.engines import EngineError
from apvit.engines.torch_engine import TorchEngine
from apvit.explain.explanation import SHOWN_CLASSES, explain


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


def test_pictures(engine, faces, tmp_path):
    pytest.importorskip("matplotlib", reason="needs matplotlib (apvit[demo])")
    from PIL import Image

    from apvit.explain.figure import draw_explanation, draw_panel, survivors

    explanations = list(explain(engine, faces))
    stages = survivors(explanations[0])
    counts = [int(mask.sum()) for _, mask in stages]
    assert counts == sorted(set(counts), reverse=True)  # only what changed is shown
    figure = draw_explanation(explanations[0], "a title")
    assert len(figure.axes) == 2 + len(stages) + SHOWN_CLASSES + 1
    for name, drawn in (("one", figure), ("panel", draw_panel(explanations, columns=2))):
        drawn.savefig(tmp_path / f"{name}.png", dpi=60)
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"))
        assert pixels.std() > 20
