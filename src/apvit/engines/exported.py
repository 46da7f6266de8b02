"""The ONNX file that `apvit export` writes, run by ONNX Runtime or OpenVINO. Needs no torch.

Its input is `faces` [B, C, S, S] float32, its outputs are those of `Output` (`tokens_0`, `tokens_1`, ... for the
blocks), and its metadata key `apvit` holds the card.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apvit.machine import thread_count
from apvit.weights import Card

from .engine import EngineError, Output, Runtime, check_input

CARD_KEY = "apvit"
INPUT = "faces"
SUFFIX = ".onnx"


def output_names(depth: int) -> list[str]:
    """The graph's outputs in order, for a network of `depth` blocks."""
    return ["probabilities", "patch_scores", "patches", *(f"tokens_{i}" for i in range(depth)), "embedding"]


class OnnxEngine:
    """An exported file on ONNX Runtime (CPU). See `Engine`."""

    def __init__(self, path: str | Path):
        import onnxruntime  # type: ignore[import-untyped]

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = thread_count()
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise EngineError(f"{path} cannot be opened as an ONNX file ({_first_line(error)})") from None
        self._card = _card(path, self._session.get_modelmeta().custom_metadata_map.get(CARD_KEY))
        _check_names(path, [node.name for node in self._session.get_inputs()])
        # 0 leaves the number to ONNX Runtime, which does not tell it.
        threads = options.intra_op_num_threads or None
        self._runtime = Runtime("onnx", onnxruntime.__version__, "cpu", threads, _precision(self._card))

    @property
    def card(self) -> Card:
        """The card of the weights."""
        return self._card

    @property
    def runtime(self) -> Runtime:
        """See `Engine.runtime`."""
        return self._runtime

    def run(self, x: NDArray[np.float32]) -> Output:
        """See `Engine.run`."""
        check_input(x, self._card)
        return _output(lambda batch: self._session.run(None, {INPUT: batch}), x)


class OpenVinoEngine:
    """An exported file on OpenVINO (CPU), in float32 arithmetic. See `Engine`."""

    def __init__(self, path: str | Path):
        import openvino  # type: ignore[import-untyped]

        core = openvino.Core()
        try:
            graph = core.read_model(str(path))
        except Exception as error:  # RuntimeError and its own kinds
            raise EngineError(f"{path} cannot be opened as an ONNX file ({_first_line(error)})") from None
        keys = ["framework", CARD_KEY]  # where OpenVINO keeps an ONNX file's metadata
        self._card = _card(path, graph.get_rt_info(keys).astype(str) if graph.has_rt_info(keys) else None)
        _check_names(path, [name for node in graph.inputs for name in node.names])
        # Without the hint processors with bfloat16 use it, whose noise moves what pooling selects.
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads := thread_count():
            config["INFERENCE_NUM_THREADS"] = threads
        compiled = core.compile_model(graph, "CPU", config)
        self._request = compiled.create_infer_request()
        threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        self._runtime = Runtime("openvino", openvino.__version__, "cpu", threads, _precision(self._card))

    @property
    def card(self) -> Card:
        """The card of the weights."""
        return self._card

    @property
    def runtime(self) -> Runtime:
        """See `Engine.runtime`."""
        return self._runtime

    def run(self, x: NDArray[np.float32]) -> Output:
        """See `Engine.run`."""
        check_input(x, self._card)
        return _output(self._infer, x)

    def _infer(self, batch: NDArray[np.float32]) -> list[NDArray[Any]]:
        results = self._request.infer({INPUT: batch})
        return [results[i].copy() for i in range(len(results))]  # the request's own memory is used again


EXPORTED_ENGINES: dict[str, tuple[str, type[OnnxEngine] | type[OpenVinoEngine]]] = {
    "onnx": ("onnxruntime", OnnxEngine),
    "openvino": ("openvino", OpenVinoEngine),
}
"""For each engine of exported files the package it needs, which is also the name of the extra, and its class."""


def is_installed(engine: str) -> bool:
    """Whether the package that an engine of exported files needs is there."""
    return find_spec(EXPORTED_ENGINES[engine][0]) is not None


def check_installed(engine: str) -> None:
    """Raises EngineError, which names the extra, where an engine of exported files, or for "auto" any, is not there."""
    names = _candidates(engine)
    if not any(map(is_installed, names)):
        wanted = "an exported file" if engine == "auto" else f"the engine {engine}"
        packages = " or ".join(EXPORTED_ENGINES[name][0] for name in names)
        raise EngineError(f"{wanted} needs {packages}: pip install 'apvit[{names[0]}]'")


def open_exported(path: str | Path, engine: str) -> OnnxEngine | OpenVinoEngine:
    """An exported file on `engine`; "auto" prefers ONNX Runtime. EngineError where the engine is not installed."""
    check_installed(engine)
    name = next(filter(is_installed, _candidates(engine)))
    return EXPORTED_ENGINES[name][1](path)


def _candidates(engine: str) -> list[str]:
    return list(EXPORTED_ENGINES) if engine == "auto" else [engine]


def _output(run: Any, x: NDArray[np.float32]) -> Output:
    """Call `run` on x, which neither runtime takes empty, and give its results their names."""
    count = len(x)
    batch = np.ascontiguousarray(x) if count else np.zeros((1, *x.shape[1:]), np.float32)
    probabilities, scores, patches, *tokens, embedding = (array[:count] for array in run(batch))
    return Output(probabilities, scores, patches, tuple(tokens), embedding)


def _card(path: str | Path, text: str | None) -> Card:
    if text is None:
        raise EngineError(f"{path} is an ONNX file without an apvit card; `apvit export` makes one with it")
    return Card.from_json(text)


def _precision(card: Card) -> str:
    return "int8" if "int8" in card.provenance else "float32"


def _check_names(path: str | Path, inputs: Sequence[str]) -> None:
    if list(inputs) != [INPUT]:
        raise EngineError(
            f"{path} takes {', '.join(inputs)} instead of {INPUT}: it was exported with --pixels for other programs; "
            "export it without"
        )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
