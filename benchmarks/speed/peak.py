"""What the processor's arithmetic reaches at best: a large float32 matrix product.

On ONNX Runtime, because its product is the fastest at hand: on the AMD EPYC of the published figures it reached 499
GFLOP/s, OpenVINO's 465, numpy's 262 and torch's 224; against the last, engines would pass 100 % of the "peak".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SIDE = 2048
NAME = "gemm"
"""What it is called among those that take turns."""


def product() -> Callable[[], object]:
    """A call that multiplies two matrices [SIDE, SIDE]."""
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((SIDE, SIDE), dtype=np.float32) for _ in range(2))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, [SIDE, SIDE])],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [SIDE, SIDE])],
        [numpy_helper.from_array(b, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"a": a})


def best_rate(seconds: Sequence[float]) -> float:
    """Multiply-accumulates per second of the fastest of several products."""
    return SIDE**3 / min(seconds)
