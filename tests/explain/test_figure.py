"""Pictures of explanations show what they should: every stage, every word, and nothing twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apvit.engines.torch_engine import TorchEngine
from apvit.explain.drawing import as_picture, outline
from apvit.explain.explanation import SHOWN_CLASSES, Explanation, explain
from apvit.explain.figure import Gallery, draw_explanation, survivors
from apvit.explain.tracing import face_corners

pytest.importorskip("matplotlib", reason="needs matplotlib (apvit[demo])")


@pytest.fixture(scope="module")
def explanations(weights: Path) -> list[Explanation]:
    faces = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), np.uint8)
    return list(explain(TorchEngine(weights, device="cpu"), faces))


def words(figure) -> str:
    texts = [text.get_text() for axes in figure.axes for text in (*axes.texts, axes.title)]
    return " | ".join(texts)


def test_one_face(explanations):
    one = explanations[0]
    stages = survivors(one)
    counts = [int(mask.sum()) for _, mask in stages]
    assert counts == sorted(set(counts), reverse=True)  # only what changed is shown
    figure = draw_explanation(one, "a title")
    assert len(figure.axes) == 2 + len(stages) + 1 + SHOWN_CLASSES + 1
    said = words(figure)
    for name, mask in stages:
        assert f"{name}\n{mask.sum()} of 144 patches" in said
    for name, probability in one.probabilities.items():
        assert name in said
        assert f"{probability:.2f}" in said
    assert "left open" not in said
    assert np.asarray(as_picture(figure).convert("L")).std() > 20


def test_with_its_photograph(explanations):
    photograph = np.full((90, 70, 3), 200, np.uint8)
    one = replace(
        explanations[0], corners=face_corners(12, 30) + np.array([60, -10])
    )  # it sticks out of the photograph
    alone, placed = draw_explanation(one), draw_explanation(one, photograph=photograph)
    assert len(placed.axes) == len(alone.axes) + 1
    assert "in the photograph" in words(placed)
    as_picture(placed)


def test_an_open_face_says_so(explanations):
    figure = draw_explanation(replace(explanations[0], min_probability=0.999))
    said = words(figure)
    assert "expression left open" in said
    assert "needed: 1.00" in said
    for name in explanations[0].probabilities:
        assert name in said


def test_gallery_has_a_band_for_each_expression(explanations):
    one, other, last = explanations[:3]
    names = list(one.relevance)
    clear = [with_probability(one, names[0], p) for p in (0.6, 0.9, 0.7)]
    gallery = Gallery(list(one.probabilities), most=2)
    for explanation in (*clear, replace(last, min_probability=1.0), replace(other, min_probability=1.0)):
        gallery.add(explanation)
    assert len(gallery) == 4  # the least clear of three is left out
    figure = gallery.draw(columns=2)
    said = words(figure)
    assert "2 of 3 faces" in said
    assert "0.90" in said
    assert "0.60" not in said
    assert said.index(names[0]) < said.index("left open"), "those left open come last"
    assert "2 faces" in said
    assert np.asarray(as_picture(figure).convert("L")).std() > 20


def with_probability(one: Explanation, name: str, probability: float) -> Explanation:
    rest = (1 - probability) / (len(one.probabilities) - 1)
    probabilities = {other: probability if other == name else rest for other in one.probabilities}
    return replace(one, probabilities=probabilities)


def test_an_empty_gallery_is_refused():
    with pytest.raises(ValueError, match="at least one face"):
        Gallery(["neutral"]).draw()


@pytest.mark.parametrize(
    ("mask", "length"),
    [([[0, 0], [0, 0]], 0), ([[1, 0], [0, 0]], 4), ([[1, 1], [0, 0]], 6), ([[1, 0], [0, 1]], 8), ([[1, 1], [1, 1]], 8)],
)
def test_outline_by_hand(mask, length):
    sides = outline(np.array(mask, bool), face_corners(2, 2))
    assert len(sides) == length
    assert all(np.abs(side[0] - side[1]).sum() == 1 for side in sides)
    ends = {tuple(end) for side in sides for end in side.tolist()}
    if length == 4:
        assert ends == {(0, 0), (1, 0), (0, 1), (1, 1)}
