"""What is imported is declared: by apvit itself, or by the extra that brings the room what it needs."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "apvit"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

EXTRAS = {
    "training": ("train",),
    "evaluation": ("train", "figures"),
    "explain": ("figures",),
    "files.py": ("figures",),
    "runtimes.py": ("onnx",),
    "faces/mtcnn_graphs.py": ("onnx",),
    "faces/pictures.py": ("heif",),
    "engines/exported.py": ("onnx", "openvino"),
    "engines/quantise.py": ("export",),
    "engines/export.py": ("export",),
    "engines/real_faces.py": ("demo",),
    "recognition/album.py": ("video",),
    "recognition/archive": ("archive",),
    "recognition/video": ("video", "figures"),
    "serve": ("serve",),
    "cli/train.py": ("train",),
    "cli/recognize_clips.py": ("video",),
}
"""The extras whose packages a file, or every file of a folder, may import; the others need only what apvit needs."""


def distributions(extra: str | None) -> set[str]:
    """Names of what an extra declares, with the extras that it names; of what apvit always needs for None."""
    lines = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    names: set[str] = set()
    for requirement in map(Requirement, lines):
        if requirement.name == "apvit":
            names = names.union(*map(distributions, requirement.extras))
        else:
            names.add(canonicalize_name(requirement.name))
    return names


def imported(file: Path) -> Iterator[str]:
    """The top-level packages of others that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        for name in names:
            package = name.partition(".")[0]
            if package != "apvit" and package not in sys.stdlib_module_names:
                yield package


def allowed(file: str) -> set[str]:
    extras = [extra for place, those in EXTRAS.items() if f"{file}/".startswith(f"{place}/") for extra in those]
    return distributions(None).union(*map(distributions, extras))


@pytest.mark.parametrize("file", sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")))
def test_what_a_file_imports_is_declared(file: str) -> None:
    brought_by = packages_distributions()
    for package in imported(SOURCE / file):
        names = {canonicalize_name(name) for name in brought_by.get(package, [package])}
        assert names & allowed(file), f"{file} imports {package}, which neither apvit nor an extra of its room declares"


def test_every_extra_that_a_user_may_want_is_in_all() -> None:
    every = set(PROJECT["optional-dependencies"]) - {"all", "dev", "docs"}
    assert distributions("all") == set().union(*map(distributions, every))


def test_one_extra_brings_matplotlib() -> None:
    """So that every message about it names the same one."""
    lines = {extra: map(Requirement, lines) for extra, lines in PROJECT["optional-dependencies"].items()}
    declaring = {extra for extra, those in lines.items() if "matplotlib" in {one.name for one in those}}
    assert declaring == {"figures"}
    messages = [
        line
        for file in SOURCE.rglob("*.py")
        for line in file.read_text().splitlines()
        if "needs matplotlib" in line or "need matplotlib" in line
    ]
    assert messages
    assert all("pip install 'apvit[figures]'" in line for line in messages)
