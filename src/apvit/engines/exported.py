"""The ONNX file that `apvit export` writes, run by ONNX Runtime or OpenVINO. Needs no torch.

Its input is `faces` [B, C, S, S] float32, its outputs are those of `Output` (`tokens_0`, `tokens_1`, ... for the
blocks), and its metadata key `apvit` holds the card.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apvit.machine import thread_count
from apvit.runtimes import OnnxSession, failing_as, keep_after_forks
from apvit.weights import Card

from .engine import EngineError, Output, Runtime, check_input

CARD_KEY = "apvit"
INPUT = "faces"
SUFFIX = ".onnx"


def output_names(depth: int) -> list[str]:
    """The graph's outputs in order, for a network of `depth` blocks."""
    return ["probabilities", "patch_scores", "patches", *(f"tokens_{i}" for i in range(depth)), "embedding"]


class ExportedEngine(ABC):
    """What the engines of exported files share. `content`: of the file at `path`, where that was read before."""

    name: str
    """What errors call the runtime."""

    def __init__(self, path: str | Path, content: bytes | mmap | None = None):
        self._path = path
        try:
            # Mapped, not read, so that what pickling needs takes no memory, even if the file is replaced.
            self._content = _mapped(path) if content is None else content
            self._card, self._runtime = self._open()
        except EngineError:
            raise
        except Exception as error:  # what the runtimes raise shares no base class
            raise EngineError(f"{path} cannot be opened as an ONNX file ({_first_line(error)})") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._path, bytes(self._content))

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
        count = len(x)  # no runtime takes an empty batch
        batch = np.ascontiguousarray(x) if count else np.zeros((1, *x.shape[1:]), np.float32)
        with failing_as(EngineError, self.name):
            outputs = self._infer(batch)
        probabilities, scores, patches, *tokens, embedding = (array[:count] for array in outputs)
        return Output(probabilities, scores, patches, tuple(tokens), embedding)

    @abstractmethod
    def _open(self) -> tuple[Card, Runtime]:
        """Make the runtime take `_content`."""

    @abstractmethod
    def _infer(self, batch: NDArray[np.float32]) -> list[NDArray[Any]]:
        """The graph's outputs, in order."""

    def _read_card(self, text: str | None, inputs: Sequence[str]) -> Card:
        """The card in a graph's metadata; EngineError for a graph that takes no faces or has none."""
        if text is None:
            raise EngineError(f"{self._path} is an ONNX file without an apvit card; `apvit export` makes one with it")
        card = Card.from_json(text)
        if list(inputs) != [INPUT]:
            raise EngineError(
                f"{self._path} takes {', '.join(inputs)} instead of {INPUT}: it was exported for other programs "
                "(pixels=True); export it without"
            )
        return card


class OnnxEngine(ExportedEngine):
    """An exported file on ONNX Runtime (CPU). See `Engine`."""

    name = "ONNX Runtime"

    def _open(self) -> tuple[Card, Runtime]:
        import onnxruntime  # type: ignore[import-untyped]

        self._session = OnnxSession(self._content)
        card = self._read_card(self._session.metadata.get(CARD_KEY), self._session.inputs)
        # 0 leaves the number to ONNX Runtime, which does not tell it.
        return card, Runtime("onnx", onnxruntime.__version__, "cpu", thread_count() or None, _precision(card))

    def _infer(self, batch: NDArray[np.float32]) -> list[NDArray[Any]]:
        return self._session.run({INPUT: batch})


class OpenVinoEngine(ExportedEngine):
    """An exported file on OpenVINO (CPU), in float32 arithmetic. See `Engine`."""

    name = "OpenVINO"

    def _open(self) -> tuple[Card, Runtime]:
        import openvino  # type: ignore[import-untyped]

        core = openvino.Core()
        graph = core.read_model(bytes(self._content))
        keys = ["framework", CARD_KEY]  # where OpenVINO keeps an ONNX file's metadata
        text = graph.get_rt_info(keys).astype(str) if graph.has_rt_info(keys) else None
        card = self._read_card(text, [name for node in graph.inputs for name in node.names])
        # Without the hint processors with bfloat16 use it, whose noise moves what pooling selects.
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads := thread_count():
            config["INFERENCE_NUM_THREADS"] = threads
        compiled = core.compile_model(graph, "CPU", config)
        self._request = compiled.create_infer_request()
        keep_after_forks(self)
        threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        return card, Runtime("openvino", openvino.__version__, "cpu", threads, _precision(card))

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


def _precision(card: Card) -> str:
    return "int8" if "int8" in card.provenance else "float32"


def _mapped(path: str | Path) -> mmap:
    with open(path, "rb") as file:
        return mmap(file.fileno(), 0, access=ACCESS_READ)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
