"""What importing costs: torch and other heavy packages come only with the function that needs them.

The floors are import-linter's (`.importlinter`); it cannot tell an import in a function from one at the top of a file.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import apvit

HEAVY = ("torch", "lightning", "torchmetrics", "pyarrow", "matplotlib", "yaml")
PACKAGE = Path(apvit.__file__).parent
NEEDS_TORCH = ("apvit.faces.mtcnn_nets",)
"""MTCNN's networks: a file of torch modules, itself imported only when a detector is made."""


def modules(room: str) -> list[str]:
    """Every module of a room, so that a new one is checked without being named here."""
    names = [f"apvit.{room}", *(f"apvit.{room}.{file.stem}" for file in sorted((PACKAGE / room).glob("[!_]*.py")))]
    return [name for name in names if name not in NEEDS_TORCH]


def loaded_after(code: str, heavy: tuple[str, ...]) -> str:
    """Which of `heavy` a fresh Python has loaded after running `code`, separated by spaces."""
    code = f"import sys\n{code}\nprint(*(n for n in {heavy!r} if n in sys.modules), file=sys.stderr)"
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stderr.strip()


@pytest.mark.parametrize(
    "code",
    [
        "import apvit",
        "import apvit; apvit.__version__, dir(apvit)",
        "import apvit.expressions",
        "from apvit.cli import main\ntry: main(['--help'])\nexcept SystemExit as stop: assert not stop.code",
    ],
)
def test_the_package_and_its_help_are_light(code: str) -> None:
    assert loaded_after(code, (*HEAVY, "cv2", "PIL", "numpy")) == ""


@pytest.mark.parametrize("room", ["faces", "recognition", "serve", "cli"])
def test_rooms_need_no_torch(room: str) -> None:
    names = modules(room)
    assert len(names) > 3
    assert loaded_after("\n".join(f"import {name}" for name in names), HEAVY) == ""


@pytest.mark.parametrize(
    "name", ["apvit.weights", "apvit.weights.card", "apvit.weights.file", "apvit.engines", "apvit.data"]
)
def test_modules_need_no_torch(name: str) -> None:
    assert loaded_after(f"import {name}", HEAVY) == ""


UNUSED = (
    *HEAVY,
    *("scipy", "skimage", "sklearn", "pandas", "huggingface_hub", "safetensors", "onnxscript", "openvino", "captum"),
    *("ray", "av", "fastapi", "uvicorn", "joblib", "psutil", "multiprocessing", "asyncio", "ssl", "urllib.request"),
    *("rich.progress", "apvit.nn", "apvit.explain", "apvit.training", "apvit.evaluation", "apvit.serve"),
    *("apvit.recognition.rendering", "apvit.recognition.album", "apvit.recognition.archive"),
)
"""What recognising one photograph with an exported file has no use for: the command would only start later."""


def test_an_exported_file_recognises_with_nothing_unused(
    weights: Path, photographs: dict[str, Path], tmp_path: Path
) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason="needs apvit[export]")
    from apvit.engines.export import export_onnx

    exported = tmp_path / "exported.onnx"
    export_onnx(weights, exported)
    call = ["recognize", str(photographs["grace_hopper"]), "--weights", str(exported), "--engine", "onnx"]
    code = f"from apvit.cli import main\ntry: main({call!r})\nexcept SystemExit as stop: assert not stop.code"
    said = loaded_after(code, UNUSED).splitlines()
    assert said == ["1 picture, 1 face in " + said[0].partition(" in ")[2]]  # then the names, were there any


def test_the_check_sees_torch() -> None:
    assert "torch" in loaded_after("import apvit.nn", HEAVY).split()


@pytest.mark.parametrize("name", apvit.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(apvit, name).__module__.startswith("apvit.")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'apvit' has no attribute 'Recogniser'"):
        apvit.Recogniser  # noqa: B018
