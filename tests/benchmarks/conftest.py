"""The scripts of `benchmarks` as modules: they are no package, and are run by their path."""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from apvit.data import FaceRow, SplitMetadata, write_split
from apvit.expressions import get_label_space
from apvit.faces.alignment import TEMPLATES, align
from apvit.faces.detection import create_detector
from apvit.faces.pictures import read_picture

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def load(path: str) -> ModuleType:
    name = "benchmarks_" + path.removesuffix(".py").replace("/", "_")
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    sys.path.insert(0, str((BENCHMARKS / path).parent))  # as `python path` does
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def figures() -> ModuleType:
    return load("figures.py")


@pytest.fixture(scope="session")
def pasting() -> ModuleType:
    return load("framing/pasting.py")


@pytest.fixture(scope="session")
def experiment() -> ModuleType:
    return load("framing/experiment.py")


@pytest.fixture(scope="session")
def every_face() -> ModuleType:
    return load("framing/every_face.py")


@pytest.fixture
def two_people(photographs: dict[str, Path], tmp_path: Path) -> Path:
    """A folder with a train and a valid split, each of twenty crops of either of two package photographs' faces."""
    space, template = get_label_space("ferplus"), TEMPLATES["ferplus-48-v1"]
    encoded = {}
    for name, expression in (("astronaut", "happiness"), ("grace_hopper", "neutral")):
        picture = read_picture(photographs[name])
        crop = align(picture, create_detector("mtcnn").detect([picture])[0][0].landmarks, template)
        buffer = io.BytesIO()
        Image.fromarray(crop).convert("L").save(buffer, "PNG")
        encoded[space.index(expression)] = buffer.getvalue()
    rows = [FaceRow(image, f"{i}.png", label, str(i)) for i in range(20) for label, image in encoded.items()]
    folder = tmp_path / "two_people"
    folder.mkdir()
    for split in ("train", "valid"):
        write_split(folder / f"{split}.parquet", rows, SplitMetadata("ferplus", split, space, "majority"))
    return folder


@pytest.fixture(scope="session")
def speed() -> Callable[[str], ModuleType]:
    """The script of benchmarks/speed that has this name."""
    return lambda name: load(f"speed/{name}.py")


@pytest.fixture(scope="session")
def dial() -> ModuleType:
    return load("dial/dial.py")


@pytest.fixture(scope="session")
def faithfulness() -> ModuleType:
    return load("explanation/faithfulness.py")


@pytest.fixture(scope="session")
def occlusion() -> ModuleType:
    return load("explanation/occlusion.py")


@pytest.fixture(scope="session")
def ablation() -> ModuleType:
    return load("ablation/ablation.py")


@pytest.fixture(scope="session")
def keep_rates() -> ModuleType:
    return load("ablation/keep_rates.py")


@pytest.fixture(scope="session")
def damage() -> ModuleType:
    return load("accuracy/robustness.py")
