"""MTCNN as ONNX graphs: the same numbers as in torch, and no torch; when which of them runs."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apvit.faces import mtcnn_graphs, mtcnn_nets
from apvit.faces.detection import Detector, DetectorError, create_detector
from apvit.faces.mtcnn import MTCNN
from apvit.faces.mtcnn_weights import find_weights, load_arrays

pytest.importorskip("onnx", reason="needs apvit[onnx]")
pytest.importorskip("onnxruntime", reason="needs apvit[onnx]")

SIZES = {"pnet": None, "rnet": 24, "onet": 48}
NAMES = ("astronaut", "grace_hopper", "camera", "cat")


@pytest.fixture(scope="module")
def graphs() -> Detector:
    return create_detector("mtcnn", runtime="onnx")


@pytest.fixture(scope="module")
def nets() -> dict[str, tuple[mtcnn_nets.TorchNet, mtcnn_graphs.OnnxNet]]:
    arrays = {name: load_arrays(find_weights(), name) for name in SIZES}
    modules = {"pnet": mtcnn_nets.PNet, "rnet": mtcnn_nets.RNet, "onet": mtcnn_nets.ONet}
    return {
        name: (
            mtcnn_nets.TorchNet(module(arrays[name]), "cpu"),
            mtcnn_graphs.OnnxNet(getattr(mtcnn_graphs, name)(arrays[name]).SerializeToString()),
        )
        for name, module in modules.items()
    }


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 3),
    height=st.integers(12, 90),
    width=st.integers(12, 90),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_net_gives_the_same_numbers_in_both(nets, count: int, height: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    for name, (in_torch, in_onnx) in nets.items():
        sides = (SIZES[name], SIZES[name]) if SIZES[name] else (height, width)
        pixels = random.integers(0, 256, (count, *sides, 3), dtype=np.uint8)
        for expected, output in zip(in_torch(pixels), in_onnx(pixels), strict=True):
            assert output.dtype == np.float32
            assert output.shape == expected.shape
            np.testing.assert_allclose(output, expected, atol=1e-5)


def agree(one: Detector, other: Detector, picture: np.ndarray) -> int:
    """The number of faces, which both find with the same scores, boxes and landmarks."""
    (expected,), (found,) = one.detect([picture]), other.detect([picture])
    assert len(found) == len(expected)
    for face, same in zip(found, expected, strict=True):
        assert face.score == pytest.approx(same.score, abs=1e-5)
        assert face.box == pytest.approx(same.box, abs=1e-2)
        np.testing.assert_allclose(face.landmarks, same.landmarks, atol=1e-2)
    return len(found)


@pytest.mark.parametrize("name", NAMES)
def test_both_find_the_same_faces(
    mtcnn: Detector, graphs: Detector, pictures: dict[str, np.ndarray], name: str
) -> None:
    assert agree(mtcnn, graphs, pictures[name]) == (name != "cat")


@pytest.mark.parametrize("name", NAMES)
def test_crops_come_out_the_same(mtcnn: Detector, graphs: Detector, pictures: dict[str, np.ndarray], name: str) -> None:
    """Aligned by rounded landmarks, an exported file gets the same pixels as torch would."""
    (expected,), (found,) = mtcnn.detect([pictures[name]]), graphs.detect([pictures[name]])
    for face, same in zip(found, expected, strict=True):
        np.testing.assert_array_equal(face.steady_landmarks, same.steady_landmarks)


def test_both_find_the_same_nothings(pictures: dict[str, np.ndarray]) -> None:
    """Without a threshold also what is no face: more chances to differ."""
    one, other = (create_detector("mtcnn", runtime=runtime, min_score=0) for runtime in ("torch", "onnx"))
    assert sum(agree(one, other, pictures[name]) for name in (*NAMES, "coffee")) > 4


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (11, 11), (12, 12), (13, 12), (31, 33), (12, 300), (64, 80)])
def test_tiny_and_random_pictures(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(sum(shape)).integers(0, 256, (*shape, 3), dtype=np.uint8)
    one, other = (create_detector("mtcnn", runtime=runtime, min_face=8, min_score=0) for runtime in ("torch", "onnx"))
    agree(one, other, picture)


def test_pictures_of_several_sizes_at_once(graphs: Detector, pictures: dict[str, np.ndarray]) -> None:
    batch = [pictures["astronaut"], pictures["cat"], pictures["astronaut"][:, ::-1], np.zeros((3, 5, 3), np.uint8)]
    assert [len(faces) for faces in graphs.detect(batch)] == [1, 0, 1, 0]
    assert graphs.detect([]) == []


def test_which_runtime() -> None:
    assert MTCNN().runtime == "torch"
    assert MTCNN(runtime="torch").runtime == "torch"
    assert MTCNN(runtime="onnx").runtime == "onnx"
    with pytest.raises(DetectorError, match="cannot run on the device 'toaster'"):
        MTCNN(runtime="onnx", device="toaster")  # torch's error: another device needs torch


def run(code: str) -> None:
    """Run `code` in a fresh Python, whose `missing` makes packages look uninstalled."""
    start = """
import importlib.util, sys
def missing(*names):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name.partition('.')[0] in names:
                raise ModuleNotFoundError(f'No module named {name!r}', name=name)
    sys.meta_path.insert(0, Finder())
    real = importlib.util.find_spec
    importlib.util.find_spec = lambda name, package=None: None if name in names else real(name, package)
"""
    result = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_without_torch_the_default_is_onnx_runtime() -> None:
    run("""
missing('torch', 'tensorflow')
from apvit.faces.detection import DetectorError, create_detector
import numpy as np
assert create_detector('mtcnn').detect([np.zeros((50, 60, 3), np.uint8)]) == [[]]
try:
    create_detector('mtcnn', device='cuda')
except DetectorError as error:
    assert "MTCNN needs torch on the device 'cuda'" in str(error), error
else:
    raise AssertionError('a GPU without torch')
assert 'torch' not in sys.modules
""")


@pytest.mark.parametrize("position", [0, 1])
def test_where_a_package_is_missing_torch_takes_over(monkeypatch: pytest.MonkeyPatch, position: int) -> None:
    packages = list(mtcnn_graphs.PACKAGES)
    packages[position] = "a_package_that_is_not_there"
    monkeypatch.setattr(mtcnn_graphs, "PACKAGES", packages)
    assert MTCNN(runtime="onnx").runtime == "torch"


def test_with_neither_the_error_says_what_to_install() -> None:
    run("""
missing('torch', 'onnxruntime')
from apvit.faces.detection import DetectorError, create_detector
try:
    create_detector('mtcnn')
except DetectorError as error:
    assert "MTCNN needs torch or ONNX Runtime; run: pip install 'apvit[onnx]'" in str(error), error
else:
    raise AssertionError('nets without a runtime')
""")


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_tampered_weights_are_refused_by_both(runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SIZES:
        (tmp_path / f"{name}.lz4").write_bytes((find_weights() / f"{name}.lz4").read_bytes()[:-1] + b"!")
    monkeypatch.setattr("apvit.faces.mtcnn.find_weights", lambda: tmp_path)
    with pytest.raises(DetectorError, match=r"are not those of mtcnn 1\.0\.0 and were not opened"):
        create_detector("mtcnn", runtime=runtime)


@pytest.mark.skipif(find_spec("onnxscript") is None, reason="needs apvit[export]")
def test_an_exported_file_recognises_without_torch(weights: Path, photographs: dict[str, Path], tmp_path: Path) -> None:
    """Photograph in, face out; and the face is the one that torch finds."""
    import apvit
    from apvit.engines.export import export_onnx

    exported = tmp_path / "random.onnx"
    export_onnx(weights, exported)
    (face,) = apvit.Recognizer(weights, engine="torch", device="cpu")(photographs["astronaut"])
    run(f"""
missing('torch')
import apvit
recognizer = apvit.Recognizer({str(exported)!r})
(face,) = recognizer({str(photographs["astronaut"])!r})
assert max(abs(a - b) for a, b in zip(face.box, {face.box!r})) < 1e-2, face.box
assert abs(face.probability - {face.probability!r}) < 1e-4, face.probability
assert face.expression == {face.expression!r}, face.expression
assert not {{'torch', 'tensorflow', 'mtcnn'}} & set(sys.modules)
""")
    run(f"""
import apvit
assert len(apvit.Recognizer({str(exported)!r}, device='cpu')({str(photographs["astronaut"])!r})) == 1
assert 'torch' not in sys.modules, 'installed, but not to be imported'
""")
    command = ["recognize", str(photographs["astronaut"]), "--weights", str(exported)]
    run(f"""
from apvit.cli import main
try:
    main({command!r})
except SystemExit as stop:
    assert not stop.code, stop.code
assert 'torch' not in sys.modules
""")
