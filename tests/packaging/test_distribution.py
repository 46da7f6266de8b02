"""The wheel and the sdist as a stranger gets them: what is inside, and that they work in environments of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

import apvit

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

IMPORTS = {
    "train": "import apvit.training, apvit.evaluation.drawings, torchmetrics",
    "onnx": "import apvit.engines.exported, apvit.faces.mtcnn_graphs, onnx, onnxruntime",
    "openvino": "import apvit.engines.exported, openvino",
    "export": "import apvit.engines.export, onnxscript, onnxruntime",
    "figures": "from apvit.explain.drawing import new_figure; new_figure(1, 1)",
    "demo": "import apvit.explain.drawing, matplotlib, skimage.data",
    "heif": "import apvit.faces.pictures, pillow_heif",
    "video": "import apvit.recognition.video.clip, apvit.recognition.video.timeline, av, matplotlib",
    "archive": "import apvit.recognition.archive.pool, ray",
    "serve": "import apvit.serve.app, apvit.serve.running",
    "all": "import apvit.training, apvit.engines.export, apvit.serve.app, av, openvino, pillow_heif, ray",
    "docs": "import mkdocs, material, mkdocstrings",
}
"""What each extra brings, and the room that needs it. `dev` is all of them and the tools of `make test`."""

WITHOUT = {
    "train": ["train"],
    "serve": ["serve"],
    "archive": ["recognize", "photo.jpg", "--ray", "local", "--output", "results"],
}
"""Commands that need an extra."""


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command with nothing of this environment on Python's path."""
    outside = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run([str(word) for word in command], cwd=cwd, env=outside, capture_output=True, text=True)


def checked(*command: str | Path, cwd: Path | None = None) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    )
    return done.stdout


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel, built from the sdist, and the sdist, built from a copy of the working tree."""
    index = run(
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        tmp_path_factory.mktemp("index"),
        "setuptools>=77",
    )
    if index.returncode:
        pytest.skip("needs a package index, to build and install in environments of their own")
    source = tmp_path_factory.mktemp("source") / "apvit"
    ignored = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist", "runs", "prepared", "demo")
    shutil.copytree(ROOT, source, ignore=ignored)
    out = tmp_path_factory.mktemp("dist")
    checked(sys.executable, "-m", "build", "--outdir", out, source, cwd=out)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@dataclass(frozen=True)
class Environment:
    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def apvit(self) -> Path:
        return self.folder / "bin" / "apvit"

    def pip(self, *arguments: str | Path) -> str:
        return checked(sys.executable, "-m", "pip", "--python", self.python, *arguments)


@pytest.fixture(scope="session")
def installed(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel and what it needs, and no more."""
    folder = tmp_path_factory.mktemp("environments") / "plain"
    checked(sys.executable, "-m", "venv", "--without-pip", folder)
    environment = Environment(folder)
    environment.pip("install", "--quiet", "--constraint", ROOT / "constraints.txt", distributions[0])
    return environment


def test_wheel_holds_the_package_and_nothing_else(distributions: tuple[Path, Path]) -> None:
    wheel, _ = distributions
    assert wheel.name == f"apvit-{apvit.__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    info = f"apvit-{apvit.__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"apvit", info}
    files = {f.relative_to(ROOT / "src").as_posix() for f in (ROOT / "src" / "apvit").rglob("*") if f.is_file()}
    expected = {name for name in files if "__pycache__" not in name}
    assert {name for name in names if name.startswith("apvit/")} == expected
    assert {"apvit/py.typed", "apvit/assets/apvit_tiny.ferplus.safetensors", f"{info}/licenses/LICENSE"} <= names
    assert wheel.stat().st_size < 30_000_000  # weights, of which 30 MB are allowed, compress little


def test_sdist_can_be_built_from(distributions: tuple[Path, Path]) -> None:
    """The wheel was built from it; it has what a packager looks for, and no dataset or run."""
    with tarfile.open(distributions[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "src/apvit/py.typed"} <= names
    assert not any(name.startswith(("runs", "prepared", ".venv", ".git")) for name in names)


def test_one_version_in_one_place(distributions: tuple[Path, Path], installed: Environment) -> None:
    wheel, _ = distributions
    with zipfile.ZipFile(wheel) as archive:
        metadata = Parser().parsestr(archive.read(f"apvit-{apvit.__version__}.dist-info/METADATA").decode())
    assert metadata["Version"] == apvit.__version__
    assert set(metadata.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    assert checked(installed.apvit, "--version") == f"apvit {apvit.__version__}\n"
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == apvit.__version__


def test_wheel_recognises_in_another_folder(
    installed: Environment, photographs: dict[str, Path], tmp_path: Path
) -> None:
    pictures = [photographs["astronaut"], photographs["grace_hopper"]]
    lines = checked(installed.apvit, "recognize", *pictures, "--format", "jsonl", cwd=tmp_path).splitlines()
    found = {Path(one["source"]).stem: [face["expression"] for face in one["faces"]] for one in map(json.loads, lines)}
    assert found == {"astronaut": ["happiness"], "grace_hopper": ["neutral"]}
    where = checked(installed.python, "-c", "import apvit; print(apvit.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.folder)


def test_nothing_is_missing_or_contradicts(installed: Environment) -> None:
    assert "No broken requirements" in installed.pip("check")


@pytest.mark.parametrize("extra", WITHOUT)
def test_missing_extra_is_one_sentence_that_names_it(installed: Environment, extra: str, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    done = run(installed.apvit, *WITHOUT[extra], cwd=tmp_path)
    assert done.returncode != 0
    assert f"pip install 'apvit[{extra}]'" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_every_extra_is_tried() -> None:
    assert {*IMPORTS, "dev"} == set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("extra", IMPORTS)
def test_extra_installs_and_its_room_imports(
    installed: Environment, distributions: tuple[Path, Path], extra: str, tmp_path: Path
) -> None:
    """In an environment of its own over the plain one, so that no extra lives on what another brought."""
    checked(sys.executable, "-m", "venv", "--without-pip", tmp_path / "environment")
    environment = Environment(tmp_path / "environment")
    (site,) = environment.folder.glob("lib/python*/site-packages")
    (below,) = installed.folder.glob("lib/python*/site-packages")
    (site / "plain.pth").write_text(f"{below}\n")
    wanted = f"apvit[{extra}] @ {distributions[0].as_uri()}"
    environment.pip("install", "--quiet", "--constraint", ROOT / "constraints.txt", wanted)
    checked(environment.python, "-c", IMPORTS[extra], cwd=tmp_path)
    assert "No broken requirements" in environment.pip("check")
