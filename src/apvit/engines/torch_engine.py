"""The engine that needs nothing but torch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from apvit.files import counted, unknown
from apvit.nn import HybridModel, Trace, build_model
from apvit.runtimes import torch_alone
from apvit.weights import Card, load_weights

from .dial import Keep
from .engine import PRECISIONS, EngineError, Output, Runtime, check_input
from .folding import fold, fold_blocks


class TorchEngine:
    """A weight file on torch, whatever dtype the file stores. See `Engine`.

    The network is folded (`apvit.engines.folding`): the same answers in fewer steps. Computed in inference mode, in
    float32 unless `precision` says "bf16": then convolutions and linear layers are bfloat16, and scores, norms and the
    softmax stay float32. That is for GPUs; a CPU without instructions for it is slower so. What the program around sets
    in torch (default dtype and device, autocast, inference mode) changes nothing.
    compile: hand the network to `torch.compile`, on a GPU with CUDA graphs. The first batches of one and of several
    faces then take up to a minute each, the others less time than without.
    Raises EngineError for a device that is not there and an unknown precision, and what `load_weights` raises.
    """

    def __init__(
        self,
        ref: str | Path,
        *,
        device: str = "auto",
        keep: Keep | None = None,
        compile: bool = False,
        precision: str = "float32",
    ):
        if precision not in PRECISIONS:
            raise EngineError(unknown("precision", precision, PRECISIONS))
        self.device = find_device(device)
        self.precision = precision
        self.compiled = compile
        self._ref = ref
        with torch_alone(self.device, EngineError):
            model, self._own_card = load_weights(ref, device=self.device)
            if keep is not None:  # before the work of folding
                keep.config(self._own_card, ref)
            # The stem's convolutions are fastest in this layout.
            self._open(fold(model).to(memory_format=torch.channels_last), self._own_card)  # type: ignore[call-overload]
            if keep is not None:
                self._turn(keep)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_forward"}  # it may be compiled

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._open(self.model, self._card)

    @property
    def card(self) -> Card:
        """The card of the weights."""
        return self._card

    @property
    def runtime(self) -> Runtime:
        """See `Engine.runtime`."""
        name = str(self.device)
        if self.device.type == "cuda":
            name += f" ({torch.cuda.get_device_name(self.device)})"
        precision = f"{self.precision}, compiled" if self.compiled else self.precision
        return Runtime("torch", torch.__version__, name, torch.get_num_threads(), precision)

    def with_keep(self, keep: Keep) -> TorchEngine:
        """The same weights at another setting of the dial, sharing this engine's tensors.

        Raises EngineError for a setting that does not fit the weights.
        """
        other = copy.copy(self)
        with torch_alone(self.device, EngineError):
            other._turn(keep)
        return other

    def run(self, x: NDArray[np.float32]) -> Output:
        """See `Engine.run`."""
        check_input(x, self._card)
        x = np.require(x, requirements=("C", "W"))  # torch takes neither flipped nor read-only arrays
        with torch_alone(self.device, EngineError), torch.inference_mode(), ExitStack() as stack:
            if self.device.type == "cuda":
                # cuDNN rounds convolutions to TensorFloat-32 (10 bits of mantissa) unless told otherwise.
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            if self.precision == "bf16":
                stack.enter_context(torch.autocast(self.device.type, torch.bfloat16))
            batch = torch.from_numpy(x).to(self.device).contiguous(memory_format=torch.channels_last)
            logits, trace = self._forward(batch, return_trace=True)
            return as_output(logits, trace, self._card.temperature)

    def _turn(self, keep: Keep) -> None:
        """Keep something else, with a new network around the tensors of the present one."""
        with torch.device("meta"):
            model = build_model(keep.config(self._own_card, self._ref)).eval()
        model.stem = self.model.stem
        model.load_state_dict(self.model.state_dict(), assign=True)
        fold_blocks(model)
        self._open(model.requires_grad_(False), keep.card(self._own_card))

    def _open(self, model: HybridModel, card: Card) -> None:
        self.model, self._card = model, card
        self._forward: Callable[..., Any] = model
        if self.compiled:
            self._forward = torch.compile(model, mode="reduce-overhead" if self.device.type == "cuda" else None)


def as_output(logits: torch.Tensor, trace: Trace, temperature: float) -> Output:
    """What `HybridModel.forward` returns with a trace, as arrays."""
    return Output(
        _numpy((logits.float() / temperature).softmax(1)),
        _numpy(trace.patch_scores),
        _numpy(trace.patches),
        tuple(_numpy(alive) for alive in trace.tokens),
        _numpy(trace.cls.float()),
    )


def _numpy(tensor: torch.Tensor) -> NDArray[Any]:
    return np.asarray(tensor.cpu().contiguous().numpy())


def find_device(name: str) -> torch.device:
    """The device that a user calls auto, cpu, cuda, cuda:1 or mps; EngineError where it is unknown or not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EngineError(f"unknown device {name!r}; known are auto, cpu, cuda, cuda:1 ... and mps") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EngineError(
            f"device {name!r} is not there: torch sees {counted(torch.cuda.device_count(), 'GPU')}; use cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise EngineError(f"device {name!r} is not there: it needs a Mac with Apple's chip; use cpu")
    return device
