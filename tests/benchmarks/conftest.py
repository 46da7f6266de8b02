"""The scripts of `benchmarks` as modules: they are no package, and are run by their path."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

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
