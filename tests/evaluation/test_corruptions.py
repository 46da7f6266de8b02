"""Synthetic damage: deterministic, growing, and where it says it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apvit.evaluation import EvaluationError
from apvit.evaluation.corruptions import CORRUPTIONS, FILL, corrupt
from apvit.faces.alignment import TEMPLATES

TEMPLATE = TEMPLATES["ferplus-48-v1"]
NAMES = list(CORRUPTIONS)


def face(size: int = 48, colour: bool = False, seed: int = 0) -> np.ndarray:
    """A smooth face-like blob with some grain."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    smooth = 120 + 80 * np.sin(5 * x + seed) * np.cos(4 * y)
    shape = (size, size, 3) if colour else (size, size)
    smooth = smooth[..., None] * np.array([1, 0.8, 0.7]) if colour else smooth
    return np.clip(smooth + random.integers(-12, 13, shape), 0, 255).astype(np.uint8)


def damaged(name: str, severity: int, picture: np.ndarray, *, seed: int = 0, source: str = "a.png") -> np.ndarray:
    return corrupt(picture, CORRUPTIONS[name], severity, seed=seed, source=source, template=TEMPLATE)


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "rgb"])
@pytest.mark.parametrize("name", NAMES)
def test_grows_with_severity_and_leaves_severity_0_alone(name: str, colour: bool) -> None:
    picture = face(colour=colour)
    before = picture.copy()
    results = [damaged(name, severity, picture) for severity in range(6)]
    assert np.array_equal(results[0], picture)
    assert np.array_equal(picture, before)  # never in place
    assert all(r.shape == picture.shape and r.dtype == np.uint8 for r in results)
    distances = [float(np.abs(r.astype(int) - picture).mean()) for r in results]
    assert distances[1] > 0
    assert distances[5] > distances[1]
    if name not in ("rotation", "jitter"):  # what comes into view there may look alike by chance
        assert distances == sorted(distances)


@pytest.mark.parametrize("name", NAMES)
def test_is_a_function_of_seed_and_face(name: str) -> None:
    picture = face()
    assert np.array_equal(damaged(name, 4, picture), damaged(name, 4, picture))
    if name in ("blocks", "noise", "jitter"):
        assert not np.array_equal(damaged(name, 4, picture), damaged(name, 4, picture, seed=1))
        assert not np.array_equal(damaged(name, 4, picture), damaged(name, 4, picture, source="b.png"))


def covered(name: str, severity: int, size: int = 48) -> np.ndarray:
    white = np.full((size, size), 255, np.uint8)
    return damaged(name, severity, white) == FILL


@pytest.mark.parametrize(("name", "landmarks"), [("eyes", [0, 1]), ("mouth", [3, 4])])
@pytest.mark.parametrize("size", [48, 96, 112])
def test_covers_the_landmarks_of_the_template_and_no_others(name: str, landmarks: list[int], size: int) -> None:
    points = np.round((np.array(TEMPLATE.points) + 0.5) * size / 48 - 0.5).astype(int)
    for severity in range(1, 6):
        mask = covered(name, severity, size)
        for i, (x, y) in enumerate(points):
            assert mask[y, x] == (i in landmarks), (severity, i)


def test_bars_have_the_height_they_say() -> None:
    between = np.hypot(*(np.array(TEMPLATE.points[1]) - TEMPLATE.points[0]))
    for name in ("eyes", "mouth"):
        for severity in range(1, 6):
            rows = covered(name, severity).any(1).sum()
            assert rows == pytest.approx(CORRUPTIONS[name].levels[severity - 1] * between, abs=1.01)


@settings(max_examples=40, deadline=None)
@given(st.integers(16, 128), st.integers(1, 5), st.text(min_size=1, max_size=8))
def test_blocks_cover_the_share_they_say_wherever_they_lie(size: int, severity: int, source: str) -> None:
    white = np.full((size, size), 255, np.uint8)
    block = corrupt(white, CORRUPTIONS["blocks"], severity, seed=0, source=source, template=None) == FILL
    side = size * (0.08 * severity) ** 0.5
    assert block.any(0).sum() == pytest.approx(side, abs=1)
    assert block.any(1).sum() == pytest.approx(side, abs=1)


def test_rgb_stays_rgb_through_jpeg() -> None:
    red = np.zeros((48, 48, 3), np.uint8)
    red[..., 0] = 200
    assert damaged("jpeg", 1, red)[..., 0].mean() > 150 > damaged("jpeg", 1, red)[..., 2].mean()


def test_brightness_and_rotation_go_both_ways() -> None:
    picture = face()
    brighter = [damaged("brightness", 2, picture, source=str(i)).mean() > picture.mean() for i in range(40)]
    assert 10 <= sum(brighter) <= 30
    assert damaged("brightness", 2, np.full((8, 8), 60, np.uint8), source="0").mean() in (30, 120)
    turned = {damaged("rotation", 5, picture, source=str(i)).tobytes() for i in range(20)}
    assert len(turned) == 2


def test_eyes_and_mouth_need_a_template() -> None:
    for name, corruption in CORRUPTIONS.items():
        assert corruption.needs_landmarks == (name in ("eyes", "mouth"))
        if corruption.needs_landmarks:
            with pytest.raises(EvaluationError, match=f"{name}: without an alignment template"):
                corrupt(face(), corruption, 1, seed=0, source="a", template=None)
        else:
            corrupt(face(), corruption, 5, seed=0, source="a", template=None)
