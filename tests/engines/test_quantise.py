"""int8: which layers become it, and that the file runs on both runtimes with its card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from apvit.engines import EngineError
from apvit.engines.exported import OnnxEngine, OpenVinoEngine, is_installed
from apvit.engines.quantise import Quantised, divide, quantise_onnx, write_card
from apvit.evaluation.engine_accuracy import overlap
from apvit.weights import read_card

onnx = pytest.importorskip("onnx", reason="needs apvit[export]")
pytest.importorskip("onnxruntime", reason="needs apvit[onnx]")
pytest.importorskip("onnxscript", reason="needs apvit[export]")


def faces(count: int) -> np.ndarray:
    """Smooth random network input."""
    coarse = np.random.default_rng(count).normal(size=(count, 1, 6, 6))
    return np.repeat(np.repeat(coarse, 8, axis=2), 8, axis=3).astype(np.float32)


@pytest.fixture(scope="module")
def exported(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from apvit.engines.export import export_onnx

    path = tmp_path_factory.mktemp("exported") / "random.onnx"
    export_onnx(weights, path)
    return path


@pytest.fixture(scope="module")
def quantised(exported: Path) -> tuple[Path, Quantised]:
    path = exported.with_name("int8.onnx")
    return path, quantise_onnx(exported, path, iter([faces(16), faces(17)]), depth=2)


def test_scorers_stay_in_float(quantised: tuple[Path, Quantised]) -> None:
    path, result = quantised
    # Stem: two units with two convolutions, the first with a shortcut; first block: qkv, projection, MLP.
    assert result.int8 == 5 + 4
    assert result.float32["first convolution"] == 1
    assert result.float32["projection that APP scores"] == 1
    assert result.float32["head"] == 1
    graph = onnx.load(path).graph
    made_of = {output: node for node in graph.node for output in node.output}
    dequantised = {node.name for node in graph.node if node.op_type == "DequantizeLinear"}
    assert dequantised
    scored = [node for node in graph.node if node.op_type in ("Abs", "TopK", "ReduceSum", "Softmax")]
    assert scored
    for node in scored:
        before = made_of.get(node.input[0])
        assert before is None or before.op_type != "DequantizeLinear"


def test_weights_are_int8_by_channel(quantised: tuple[Path, Quantised]) -> None:
    stored = [t for t in onnx.load(quantised[0]).graph.initializer if t.data_type == onnx.TensorProto.INT8]
    matrices = [onnx.numpy_helper.to_array(t) for t in stored if len(t.dims) > 1]
    assert len(matrices) == quantised[1].int8
    for matrix in matrices:
        assert np.abs(matrix).max() <= 64  # 7 bits


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_answers_are_close(name: str, exported: Path, quantised: tuple[Path, Quantised]) -> None:
    if not is_installed(name):
        pytest.skip(f"needs apvit[{name}]")
    engine = {"onnx": OnnxEngine, "openvino": OpenVinoEngine}[name]
    a, b = engine(exported).run(faces(33)), engine(quantised[0]).run(faces(33))
    assert np.abs(a.probabilities - b.probabilities).mean() < 0.02
    assert overlap(a.patches, b.patches).mean() > 0.95
    assert engine(quantised[0]).run(faces(1)).probabilities.shape == (1, 8)


def test_the_card_holds_what_was_measured(weights: Path, quantised: tuple[Path, Quantised]) -> None:
    card = read_card(weights)
    write_card(
        quantised[0], card, provenance=quantised[1].to_dict(), metrics={"split": "valid", "faces": 3, "accuracy": 1.0}
    )
    held = OnnxEngine(quantised[0]).card
    assert held.provenance["int8"]["int8_layers"] == 9
    assert held.metrics == ({"split": "valid", "faces": 3, "accuracy": 1.0},)
    assert held.parameters == card.parameters


def test_a_foreign_graph_is_refused() -> None:
    graph = onnx.helper.make_graph([onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="c")], "g", [], [])
    with pytest.raises(EngineError, match=r"no layer model\.project"):
        divide(graph, 1)
