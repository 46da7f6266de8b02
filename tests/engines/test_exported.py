"""Exported files on ONNX Runtime and OpenVINO against torch, and which engine runs what."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import apvit
from apvit.engines import EngineError, create_engine
from apvit.engines.cache import cached_export, export_path
from apvit.engines.exported import OnnxEngine, OpenVinoEngine, output_names
from apvit.engines.torch_engine import TorchEngine
from apvit.weights import read_card

onnx = pytest.importorskip("onnx", reason="needs apvit[export]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs apvit[onnx]")
pytest.importorskip("onnxscript", reason="needs apvit[export]")

ENGINES = [
    OnnxEngine,
    pytest.param(
        OpenVinoEngine,
        marks=pytest.mark.skipif(
            __import__("importlib.util").util.find_spec("openvino") is None, reason="needs apvit[openvino]"
        ),
    ),
]


@pytest.fixture(scope="module")
def exported(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from apvit.engines.export import export_onnx

    path = tmp_path_factory.mktemp("exported") / "random.onnx"
    export_onnx(weights, path)
    return path


def faces(count: int, channels: tuple[int, ...] = ()) -> np.ndarray:
    """Smooth random faces, uint8 [count, 48, 48, *channels]."""
    random = np.random.default_rng(count)
    coarse = random.integers(0, 256, (count, 6, 6, *channels))
    return np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2).astype(np.uint8)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("count", [1, 2, 33])
def test_same_answers_for_any_batch(engine, count: int, weights: Path, exported: Path) -> None:
    truth = TorchEngine(weights, device="cpu")
    x = truth.card.preprocessing.normalise(faces(count))
    a, b = truth.run(x), engine(exported).run(x)
    np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-5)
    np.testing.assert_allclose(a.patch_scores, b.patch_scores, rtol=1e-4)
    np.testing.assert_allclose(a.embedding, b.embedding, atol=1e-4)
    np.testing.assert_array_equal(a.patches, b.patches)
    assert len(a.tokens) == len(b.tokens)
    for one, other in zip(a.tokens, b.tokens, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [array.dtype for array in (*b[:3], b.embedding)] == [np.float32, np.float32, np.int64, np.float32]


@pytest.mark.parametrize("engine", ENGINES)
def test_no_face_and_bad_faces(engine, exported: Path) -> None:
    made = engine(exported)
    empty = made.run(np.zeros((0, 1, 48, 48), np.float32))
    assert empty.probabilities.shape == (0, 8)
    assert all(alive.shape[0] == 0 for alive in empty.tokens)
    with pytest.raises(EngineError, match="NaN or infinity"):
        made.run(np.full((1, 1, 48, 48), np.nan, np.float32))
    with pytest.raises(EngineError, match=r"expected a numpy float32 array \[B, 1, 48, 48\]"):
        made.run(np.zeros((1, 3, 48, 48), np.float32))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_card_is_inside(engine, weights: Path, exported: Path) -> None:
    assert engine(exported).card == read_card(weights)


def test_the_batch_is_dynamic_and_the_outputs_named(weights: Path, exported: Path) -> None:
    graph = onnx.load(exported).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert [output.name for output in graph.output] == output_names(read_card(weights).parameters["depth"])


def test_pixels_in_probabilities_out(weights: Path, tmp_path: Path) -> None:
    from apvit.engines.export import PIXELS, export_onnx

    path = tmp_path / "pixels.onnx"
    export_onnx(weights, path, pixels=True)
    colour = faces(5, (3,))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    truth = TorchEngine(weights, device="cpu")
    expected = truth.run(truth.card.preprocessing.normalise(colour))
    np.testing.assert_allclose(session.run(None, {PIXELS: colour})[0], expected.probabilities, atol=1e-5)
    with pytest.raises(EngineError, match="takes pixels instead of faces"):
        OnnxEngine(path)


def test_runs_without_torch(exported: Path) -> None:
    code = (
        "import sys, numpy as np, apvit\n"
        f"faces = apvit.Recognizer({str(exported)!r}, detector='none')(np.zeros((60, 60, 3), np.uint8))\n"
        "assert len(faces) == 1 and 'torch' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_which_engine(weights: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APVIT_CACHE", str(tmp_path))
    assert isinstance(create_engine(exported), OnnxEngine)
    assert isinstance(create_engine(weights), TorchEngine)
    assert cached_export(weights) is None
    with pytest.raises(EngineError, match="has not been exported for onnx: run `apvit export"):
        create_engine(weights, "onnx")
    cached = export_path(weights)
    cached.parent.mkdir()
    cached.write_bytes(exported.read_bytes())
    assert cached_export(weights) == cached
    assert isinstance(create_engine(weights), OnnxEngine)
    assert isinstance(create_engine(weights, "onnx"), OnnxEngine)
    assert isinstance(create_engine(weights, "torch"), TorchEngine)


@pytest.mark.parametrize(
    ("engine", "device", "message"),
    [
        ("torch", "auto", "torch does not run"),
        ("onnx", "cuda", "run on the CPU"),
        ("tensorrt", "auto", "known are auto"),
    ],
)
def test_refuses(exported: Path, engine: str, device: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        create_engine(exported, engine, device)


@pytest.mark.parametrize(
    ("missing", "engine", "message"),
    [
        (["openvino"], "openvino", r"the engine openvino needs openvino: pip install 'apvit\[openvino\]'"),
        (["onnxruntime"], "onnx", r"the engine onnx needs onnxruntime: pip install 'apvit\[onnx\]'"),
        (["onnxscript"], "onnx", r"for onnx: pip install 'apvit\[export\]', then run `apvit export .*` once"),
    ],
)
def test_a_missing_extra_is_named_at_once(
    weights: Path, missing: list[str], engine: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in missing:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EngineError, match=message):
        create_engine(weights, engine)  # which has not been exported either


def test_an_exported_file_without_any_engine(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EngineError, match=r"needs onnxruntime or openvino: pip install 'apvit\[onnx\]'"):
        create_engine(exported)


@pytest.mark.parametrize("engine", ENGINES)
def test_foreign_files(engine, exported: Path, tmp_path: Path) -> None:
    graph = onnx.load(exported)
    del graph.metadata_props[:]
    bare, broken = tmp_path / "bare.onnx", tmp_path / "broken.onnx"
    onnx.save(graph, bare)
    broken.write_bytes(exported.read_bytes()[:1000])
    with pytest.raises(EngineError, match="without an apvit card"):
        engine(bare)
    with pytest.raises(EngineError, match="cannot be opened as an ONNX file"):
        engine(broken)


def test_a_missing_folder_is_made_and_another_suffix_refused(weights: Path, tmp_path: Path) -> None:
    from apvit.engines.export import export_onnx

    with pytest.raises(EngineError, match=r"ends in \.onnx"):
        export_onnx(weights, tmp_path / "network.bin")
    assert not list(tmp_path.iterdir())


def test_the_command_proves_what_it_writes(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from apvit.cli import main

    pytest.importorskip("skimage", reason="needs scikit-image's photograph (apvit[demo])")
    out = tmp_path / "network.onnx"
    with pytest.raises(SystemExit) as stop:
        main(["export", str(weights), str(out)])
    assert stop.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert said["file"] == str(out)
    assert {proof["engine"] for proof in said["proof"]} >= {"onnx"}
    for proof in said["proof"]:
        assert proof["faces"] == 64
        assert proof["largest_difference"] < 1e-4
        assert proof["patches_agreement"] > 0.95
    assert [path.name for path in tmp_path.iterdir()] == ["network.onnx"]
    assert apvit.Recognizer(str(out), detector="none").card == read_card(weights)
