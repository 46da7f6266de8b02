"""The engine that needs nothing but torch."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from apvit.weights import Card

from .dial import Keep, load_with_keep
from .engine import EngineError, Output, check_input


class TorchEngine:
    """A weight file on torch, in float32 arithmetic whatever dtype the file stores. See `Engine`."""

    def __init__(self, ref: str | Path, *, device: str = "auto", keep: Keep | None = None):
        self.device = _device(device)
        model, self._card = load_with_keep(ref, keep, self.device)
        # The stem's convolutions are fastest in this layout.
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def card(self) -> Card:
        """The card of the weights."""
        return self._card

    def run(self, x: NDArray[np.float32]) -> Output:
        """See `Engine.run`."""
        check_input(x, self._card)
        x = np.require(x, requirements=("C", "W"))  # torch takes neither flipped nor read-only arrays
        with torch.inference_mode(), self._full_precision():
            batch = torch.from_numpy(x).to(self.device).contiguous(memory_format=torch.channels_last)
            logits, trace = self.model(batch, return_trace=True)
            probabilities = (logits / self._card.temperature).softmax(1)
        return Output(
            _numpy(probabilities),
            _numpy(trace.patch_scores),
            _numpy(trace.patches),
            tuple(_numpy(alive) for alive in trace.tokens),
            _numpy(trace.cls),
        )

    def _full_precision(self) -> AbstractContextManager[None]:
        # On a GPU cuDNN rounds convolutions to TensorFloat-32 (10 bits of mantissa) unless told otherwise.
        if self.device.type != "cuda":
            return nullcontext()
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def _numpy(tensor: torch.Tensor) -> NDArray[Any]:
    return np.asarray(tensor.cpu().contiguous().numpy())


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EngineError(f"unknown device {name!r}; known are auto, cpu, cuda, cuda:0, ...") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EngineError(f"device {name!r} is not there: torch sees {torch.cuda.device_count()} GPUs; use cpu")
    return device
