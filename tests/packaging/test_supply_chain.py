"""What SECURITY.md promises: nothing is unpickled, evaluated or fetched but what it names, and everything is pinned."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "apvit"
TREES = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text()) for path in SOURCE.rglob("*.py")}

UNPICKLING = {"pickle", "_pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal", "pandas"}
"""Modules that run code of a file that they read, or read pickles when they are asked to."""
FETCHING = {"urllib.request", "http.client", "socket", "ftplib", "requests", "httpx", "aiohttp"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Each call with the dotted name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def imports(tree: ast.AST, modules: set[str]) -> bool:
    """Whether a file imports, anywhere in it, one of the modules or something of one."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return any(f"{name}.".startswith(f"{module}.") for name in names for module in modules)


def keyword(call: ast.Call, name: str) -> object:
    """The constant given for a keyword; None where it is not given, or no constant."""
    return next((k.value.value for k in call.keywords if k.arg == name and isinstance(k.value, ast.Constant)), None)


def test_only_the_hash_checked_place_unpickles() -> None:
    assert {file for file, tree in TREES.items() if imports(tree, UNPICKLING)} == {"faces/mtcnn_weights.py"}


def test_hash_is_checked_before_unpickling() -> None:
    """In the function that unpickles, a mismatch of the SHA-256 raises before the reader is made."""
    (load,) = (node for node in ast.walk(TREES["faces/mtcnn_weights.py"]) if getattr(node, "name", "") == "load_arrays")
    (check,) = (
        node for node in ast.walk(load) if isinstance(node, ast.If) and "sha256" in ast.unparse(node.test).lower()
    )
    assert isinstance(check.body[-1], ast.Raise)
    (reader,) = (call for name, call in calls(load) if name == "_Reader")
    assert check.end_lineno < reader.lineno


@pytest.mark.parametrize("net", ["pnet", "rnet", "onet"])
def test_mtcnns_nets_are_the_known_ones(net: str) -> None:
    from apvit.faces.mtcnn_weights import SHA256, find_weights

    assert hashlib.sha256((find_weights() / f"{net}.lz4").read_bytes()).hexdigest() == SHA256[net]


@pytest.mark.parametrize("file", TREES)
def test_no_call_runs_what_it_reads(file: str) -> None:
    for name, call in calls(TREES[file]):
        where = f"{file}:{call.lineno}: {name}"
        last = name.rpartition(".")[2]
        if name == "torch.load":
            assert keyword(call, "weights_only") is True, f"{where} without weights_only=True"
        if name in ("np.load", "numpy.load") or last == "read_array":
            assert keyword(call, "allow_pickle") is False, f"{where} without allow_pickle=False"
        if name.startswith("yaml."):
            assert last in ("safe_load", "safe_dump"), where
        assert name not in ("eval", "exec", "compile", "os.system", "os.popen", "__import__"), where
        assert keyword(call, "shell") is not True, where
        assert last != "extractall", f"{where} writes wherever an archive says"


def test_network_is_used_only_where_security_md_says() -> None:
    downloads = {file for file, tree in TREES.items() if any("hf_hub_download" in name for name, _ in calls(tree))}
    assert downloads == {"weights/sources.py", "faces/yunet.py"}
    # hub.py asks whether the hub can be reached, archive/pool.py whether a cluster can; recognition/sources.py fetches
    # a picture that a user names by its URL; serve/running.py listens.
    assert {file for file, tree in TREES.items() if imports(tree, FETCHING)} == {
        *("hub.py", "recognition/archive/pool.py", "recognition/sources.py", "serve/running.py"),
    }


def test_what_is_downloaded_by_name_has_its_hash() -> None:
    """YuNet's model is the only file that we choose; hub weights are chosen by the user, and carry a digest."""
    from apvit.faces.yunet import SHA256

    assert len(bytes.fromhex(SHA256)) == 32
    sources = ast.unparse(TREES["faces/yunet.py"])
    assert "hexdigest() != SHA256" in sources


def constraints() -> dict[str, str]:
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        requirement = Requirement(line)
        (pin,) = requirement.specifier
        assert pin.operator == "==", f"constraints.txt: {line} is no pin"
        pins[canonicalize_name(requirement.name)] = pin.version
    return pins


def needed() -> set[str]:
    """Every distribution that apvit with all its extras needs here, from pyproject.toml and the installed metadata."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    waiting = [(Requirement(line), "") for group in groups for line in group]
    done: set[tuple[str, str]] = set()
    while waiting:
        requirement, asked_with = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name == "apvit" or (requirement.marker and not requirement.marker.evaluate({"extra": asked_with})):
            continue
        for extra in ("", *requirement.extras):
            if (name, extra) not in done:
                done.add((name, extra))
                lines = importlib.metadata.requires(name) or []
                waiting += [(Requirement(line), extra) for line in lines]
    return {name for name, _ in done}


def test_everything_that_is_installed_is_pinned() -> None:
    pins = constraints()
    wrong = {}
    for name in needed():
        version = Version(importlib.metadata.version(name)).public  # torch's "+cpu" is the same torch
        if pins.get(name) != version:
            wrong[name] = f"installed {version}, constraints.txt has {pins.get(name)}"
    assert not wrong
