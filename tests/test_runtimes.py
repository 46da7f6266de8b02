"""What torch, ONNX Runtime and OpenCV say when they fail, in a sentence, and that real failures arrive so."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch._inductor.exc import CppCompileError

from apvit.engines import EngineError
from apvit.engines.torch_engine import TorchEngine
from apvit.faces.detection import DetectorError
from apvit.recognition import Recognizer
from apvit.runtimes import failing_as, failure_sentence

MEMORY = "take fewer faces at a time (batch_size)"


def raised_by_torch(code: str) -> Exception:
    with pytest.raises(Exception) as info:
        eval(code, {"torch": torch})
    return info.value


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (raised_by_torch("torch.empty(10**15)"), f"not enough memory for 4000000000000000 bytes more: {MEMORY}"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity ..."),
            f"not enough memory for 20.00 GiB more: {MEMORY}",
        ),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), f"not enough memory: {MEMORY}"),
        (RuntimeError("std::bad_alloc"), f"not enough memory: {MEMORY}"),
        (MemoryError(), f"not enough memory: {MEMORY}"),
        (
            raised_by_torch("torch.ones(2, 3) @ torch.ones(4, 5)"),
            "torch failed: mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)",
        ),
        (
            RuntimeError("CUDA error: device-side assert triggered\nmore"),
            "torch failed: CUDA error: device-side assert triggered",
        ),
        (NotImplementedError("Could not run 'aten::x'"), "torch failed: Could not run 'aten::x'"),
        (CppCompileError(["g++"], "no such header"), "torch.compile failed (C++ compile error): run without compile"),
        (RecursionError("too deep"), None),
        (ValueError("ours"), None),
        (KeyError("ours"), None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_a_failure_says(error: BaseException, sentence: str | None) -> None:
    assert failure_sentence(error, who="torch") == sentence


def test_what_nobody_knows_is_called_nothing_more() -> None:
    assert failure_sentence(RuntimeError("a worker was killed\nby signal 9")) == "this run failed: a worker was killed"
    assert failure_sentence(NotImplementedError("ours")) is None


def test_opencv_is_named() -> None:
    with pytest.raises(DetectorError, match=r"^OpenCV failed: .*resize") as info, failing_as(DetectorError, "torch"):
        cv2.resize(np.zeros((0, 0, 3), np.uint8), (4, 4))
    assert isinstance(info.value.__cause__, cv2.error)


class _Hungry(torch.nn.Module):
    """A layer that has not enough memory for maps wider than this."""

    def __init__(self, layer: torch.nn.Module, width: int):
        super().__init__()
        self.layer, self.width = layer, width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.empty(10**15) if x.shape[-1] > self.width else self.layer(x)


def test_an_engine_that_fails_says_why(weights: Path) -> None:
    engine = TorchEngine(weights, device="cpu")
    for head, sentence in (
        (_Hungry(engine.model.head, 1), "not enough memory for 4000000000000000 bytes more"),
        (torch.nn.Linear(3, 3), "torch failed: mat1"),
    ):
        engine.model.head = head
        with pytest.raises(EngineError, match=f"^{sentence}") as info:
            engine.run(np.zeros((2, 1, 48, 48), np.float32))
        assert isinstance(info.value.__cause__, RuntimeError)


def test_a_detector_that_fails_over_a_picture_costs_no_other(weights: Path) -> None:
    recognizer = Recognizer(weights, device="cpu")
    net = recognizer._detector._pnet._net  # type: ignore[union-attr]
    net.face = _Hungry(net.face, 100)
    small, large = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 640, 3), np.uint8)
    results = [faces for _, faces in recognizer.many([small, large, small])]
    assert results[::2] == [[], []]
    assert isinstance(results[1], DetectorError)
    assert "shrink the picture, or search only for larger faces (min_face)" in str(results[1])
