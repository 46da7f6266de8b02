"""Faces are pasted whole, into otherwise unchanged photographs, where the placement says."""

from __future__ import annotations

from types import ModuleType

import cv2
import numpy as np
import pytest

from apvit.faces.detection import Detection

GROUND = [np.random.default_rng(1).integers(0, 256, (400, 500)).astype(np.uint8)] * 7


def smooth_face() -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(48, 48)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return np.rint(127 + 40 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [48, 96, 160])
@pytest.mark.parametrize("turn", [-20.0, 0.0, 45.0])
def test_a_pasted_face_is_whole_and_its_surroundings_are_the_photograph(
    size: int, turn: float, pasting: ModuleType
) -> None:
    face = smooth_face()
    placement = pasting.Placement(size, turn, (170.3, 150.8), 2, (0.0, 1.0))
    picture = pasting.paste(face, placement, GROUND)
    assert picture.shape == (pasting.PICTURE, pasting.PICTURE, 3)
    assert picture.dtype == np.uint8
    back = cv2.warpAffine(picture, placement.matrix(48), (48, 48), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)[
        ..., 0
    ].astype(int)
    assert np.abs(back - face).max() <= 6
    y, x = np.mgrid[: pasting.PICTURE, : pasting.PICTURE]
    far = np.hypot(x - 170.3, y - 150.8) > size * (0.5 + pasting.FADE) * np.sqrt(2)
    ground = GROUND[2][400 - pasting.PICTURE :, : pasting.PICTURE]
    assert (picture[far] == ground[far][:, None]).all()


def test_placements_are_balanced_inside_and_repeatable(pasting: ModuleType) -> None:
    placements = pasting.draw_placements(500, np.random.default_rng(3))
    assert placements == pasting.draw_placements(500, np.random.default_rng(3))
    assert placements != pasting.draw_placements(500, np.random.default_rng(4))
    sizes = [placement.size for placement in placements]
    assert {size: sizes.count(size) for size in pasting.SIZES} == dict.fromkeys(pasting.SIZES, 100)
    turns = np.array([placement.turn for placement in placements])
    assert np.abs(turns).max() <= pasting.TILTED
    assert 0.25 < (np.abs(turns) > pasting.UPRIGHT).mean() < 0.35
    assert 0.4 < (turns > 0).mean() < 0.6
    for placement in placements:
        half = 24 * (1 + 2 * pasting.FADE)
        corners = np.array([(23.5 + x, 23.5 + y, 1) for x in (-half, half) for y in (-half, half)])
        reached = corners @ placement.matrix(48).T
        assert reached.min() >= 0
        assert reached.max() <= pasting.PICTURE


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((100, 100, 200, 200), True),
        ((115, 105, 185, 195), True),
        ((130, 130, 170, 170), False),  # an eye
        ((0, 0, 320, 320), False),
        ((180, 100, 280, 200), False),
        ((210, 210, 310, 310), False),
    ],
)
def test_which_boxes_are_the_pasted_face(box: tuple[float, ...], expected: bool, pasting: ModuleType) -> None:
    placement = pasting.Placement(100, 5.0, (150.0, 150.0), 0, (0.0, 0.0))
    assert pasting.is_pasted_face(Detection(box, 1.0, np.zeros((5, 2), np.float32)), placement) is expected
