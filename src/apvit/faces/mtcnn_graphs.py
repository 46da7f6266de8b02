"""MTCNN's three networks as ONNX graphs on ONNX Runtime: detection without torch. See `mtcnn_nets` for torch's.

A graph is written straight from the arrays of `mtcnn_weights` when a detector is made, in about 30 ms for the three.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from apvit.faces.detection import SMALLER, DetectorError
from apvit.runtimes import OnnxSession, failing_as

if TYPE_CHECKING:
    import onnx

Array = npt.NDArray[np.float32]

PACKAGES = ("onnx", "onnxruntime")
"""What the graphs need: one package writes them, the other runs them."""

_OPSET, _FORMAT = 17, 8  # of 2022: every runtime that installs beside this package reads them


def is_installed() -> bool:
    """Whether the packages are there that the graphs need."""
    return all(find_spec(package) is not None for package in PACKAGES)


class OnnxNet:
    """One network on the CPU: a graph, ready to be called. Raises DetectorError where ONNX Runtime fails."""

    def __init__(self, graph: bytes) -> None:
        # Threads that wait busily would take the cores from the network that recognises.
        self._session = OnnxSession(graph, spin=False)

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> list[Array]:
        """The outputs for pixels uint8 [B, H, W, 3]; B may be 0."""
        count = len(pixels)
        batch = np.ascontiguousarray(pixels) if count else np.zeros((1, *pixels.shape[1:]), np.uint8)
        with failing_as(DetectorError, "ONNX Runtime", SMALLER):
            return [output[:count] for output in self._session.run({"pixels": batch})]


def pnet(arrays: Sequence[Array]) -> onnx.ModelProto:
    """The proposal net: pixels uint8 [B, H, W, 3], H and W at least 12 -> scores [B, h, w] and boxes [B, 4, h, w]."""
    graph = _Graph(arrays)
    x = graph.prelu(graph.convolution(graph.normalised_pixels()), channels_last=False)
    x = graph.pool(x, 2)
    for _ in range(2):
        x = graph.prelu(graph.convolution(x), channels_last=False)
    box = graph.convolution(x)
    face = graph.convolution(x)
    return graph.finish("pnet", {"scores": (graph.score(face), 3), "boxes": (box, 4)})


def rnet(arrays: Sequence[Array]) -> onnx.ModelProto:
    """The refinement net: pixels uint8 [B, 24, 24, 3] -> scores [B] and boxes [B, 4]."""
    graph = _Graph(arrays)
    x = graph.features(graph.normalised_pixels(), pools=(3, 3))
    box = graph.dense(x)
    face = graph.dense(x)
    return graph.finish("rnet", {"scores": (graph.score(face), 1), "boxes": (box, 2)})


def onet(arrays: Sequence[Array]) -> onnx.ModelProto:
    """The output net: pixels uint8 [B, 48, 48, 3] -> scores [B], boxes [B, 4] and landmarks [B, 10], x before y."""
    graph = _Graph(arrays)
    x = graph.features(graph.normalised_pixels(), pools=(3, 3, 2))
    box = graph.dense(x)
    landmarks = graph.dense(x)
    face = graph.dense(x)
    return graph.finish("onet", {"scores": (graph.score(face), 1), "boxes": (box, 2), "landmarks": (landmarks, 2)})


class _Graph:
    """A graph in the making. Its methods add a layer to a named value, take the layer's arrays, and name the result."""

    def __init__(self, arrays: Sequence[Array]) -> None:
        self._arrays: Iterator[Array] = iter(arrays)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def normalised_pixels(self) -> str:
        """The input, uint8 [B, H, W, 3] -> float [B, 3, H, W], -1 to 1 as in training."""
        import onnx

        x = self._add("Cast", ["pixels"], to=onnx.TensorProto.FLOAT)
        x = self._add("Sub", [x, self._constant(np.float32(127.5))])
        x = self._add("Div", [x, self._constant(np.float32(128))])
        return self._add("Transpose", [x], perm=[0, 3, 1, 2])

    def features(self, x: str, pools: Sequence[int]) -> str:
        """Convolutions with a pool of each given size between them, and the dense layer that ends in [B, D]."""
        for size in pools:
            x = self.pool(self.prelu(self.convolution(x), channels_last=False), size)
        x = self.prelu(self.convolution(x), channels_last=False)
        # The order W, H, C: the dense layers were trained on MATLAB's column-major patches.
        x = self._add("Flatten", [self._add("Transpose", [x], perm=[0, 3, 2, 1])], axis=1)
        return self.prelu(self.dense(x), channels_last=True)

    def convolution(self, x: str) -> str:
        weight, bias = next(self._arrays), next(self._arrays)  # [h, w, in, out]
        return self._add("Conv", [x, self._constant(np.transpose(weight, (3, 2, 0, 1))), self._constant(bias)])

    def dense(self, x: str) -> str:
        weight, bias = next(self._arrays), next(self._arrays)  # [in, out]
        return self._add("Gemm", [x, self._constant(weight), self._constant(bias)])

    def prelu(self, x: str, *, channels_last: bool) -> str:
        shape = (-1,) if channels_last else (-1, 1, 1)
        return self._add("PRelu", [x, self._constant(next(self._arrays).reshape(shape))])

    def pool(self, x: str, size: int) -> str:
        # Rounded up, for the reason that `mtcnn_nets` gives.
        return self._add("MaxPool", [x], kernel_shape=[size, size], strides=[2, 2], ceil_mode=1)

    def score(self, logits: str) -> str:
        """The probability of the second of two classes, "face": [B, 2, ...] -> [B, ...]."""
        first, second = (self._constant(np.int64(i)) for i in range(2))
        face, other = (self._add("Gather", [logits, i], axis=1) for i in (second, first))
        return self._add("Sigmoid", [self._add("Sub", [face, other])])

    def finish(self, name: str, outputs: dict[str, tuple[str, int]]) -> onnx.ModelProto:
        """The graph with outputs {name: (value, its number of dimensions)}, in this order."""
        import onnx
        from onnx import helper

        nodes = [*self._nodes, *(helper.make_node("Identity", [x], [named]) for named, (x, _) in outputs.items())]
        sizes = ["B", None, None, 3]
        inputs = [helper.make_tensor_value_info("pixels", onnx.TensorProto.UINT8, sizes)]
        results = [
            helper.make_tensor_value_info(named, onnx.TensorProto.FLOAT, ["B", *[None] * (dimensions - 1)])
            for named, (_, dimensions) in outputs.items()
        ]
        graph = helper.make_graph(nodes, name, inputs, results, self._constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_FORMAT)

    def _add(self, operation: str, inputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        output = f"x{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output

    def _constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name
