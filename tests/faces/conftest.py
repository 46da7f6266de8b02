"""Photographs as arrays, and the detectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from apvit.faces.detection import Detector, create_detector
from apvit.faces.pictures import read_picture
from apvit.faces.yunet import FILE

Pictures = dict[str, np.ndarray]


@pytest.fixture(scope="session")
def pictures(photographs: dict[str, Path]) -> Pictures:
    """With one face: astronaut, camera (a profile), grace_hopper. Without: cat, coffee, rocket. uint8 [H, W, 3]."""
    from skimage import data

    result = {name: read_picture(path) for name, path in photographs.items()}
    result["camera"] = np.repeat(data.camera()[..., None], 3, axis=2)
    return result | {"coffee": data.coffee(), "rocket": data.rocket()}


@pytest.fixture(scope="session")
def yunet_model(shared: Path) -> Path:
    return shared / "models" / FILE


@pytest.fixture(scope="session")
def mtcnn() -> Detector:
    return create_detector("mtcnn")


@pytest.fixture(scope="session")
def yunet(yunet_model: Path) -> Detector:
    return create_detector("yunet", model=yunet_model)
