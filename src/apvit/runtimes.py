"""What stands between us and torch, ONNX Runtime and OpenCV: a program's settings, forks, copies, their errors.

On the bottom floor, since faces and networks run on the same runtimes. Imports none of them before it is needed.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from mmap import mmap
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from apvit.machine import thread_count

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

FEWER_FACES = "take fewer faces at a time (batch_size)"
"""What to do where a network has not enough memory."""

_MEMORY = re.compile(
    "(out of|not enough|insufficient) memory|(can.t|cannot) allocate memory|failed to allocate|bad.?alloc",
    re.IGNORECASE,
)
_AMOUNT = re.compile(r"tried to allocate ([\d.,]+ ?\w+)", re.IGNORECASE)
_COMPILER = ("torch._dynamo", "torch._inductor")
_RUNTIMES = {"torch": "torch", "onnxruntime": "ONNX Runtime", "cv2": "OpenCV"}
_LONGEST = 300


def failure_sentence(error: BaseException, *, who: str | None = None, advice: str = FEWER_FACES) -> str | None:
    """What a runtime's own error says, in a sentence; None for an error that is none of theirs.

    who: the runtime, where it is known; many of their errors are plain RuntimeErrors. advice: against a lack of memory
    """
    origin = type(error).__module__
    runtime = origin.partition(".")[0]
    plain = (RuntimeError, MemoryError) if who is None else (RuntimeError, MemoryError, NotImplementedError)
    if type(error) not in plain and runtime not in _RUNTIMES:
        return None
    text = str(error)
    if isinstance(error, MemoryError) or _MEMORY.search(text):
        amount = _AMOUNT.search(text)
        return f"not enough memory{f' for {amount[1]} more' if amount else ''}: {advice}"
    line = next(filter(None, map(str.strip, text.splitlines())), type(error).__name__)[:_LONGEST]
    if origin.startswith(_COMPILER):
        return f"torch.compile failed ({line}): run without compile"
    return f"{_RUNTIMES.get(runtime) or who or 'this run'} failed: {line}"


@contextmanager
def failing_as(error: type[ValueError], who: str, advice: str = FEWER_FACES) -> Iterator[None]:
    """What the runtime `who` raises inside is raised as `error`, in a sentence."""
    try:
        yield
    except Exception as failure:
        said = failure_sentence(failure, who=who, advice=advice)
        if said is None:
            raise
        raise error(said) from failure


@contextmanager
def torch_alone(device: torch.device | str, error: type[ValueError], advice: str = FEWER_FACES) -> Iterator[None]:
    """Inside, torch works as if the program around had set nothing, and fails as `error`, in a sentence.

    Autocast, inference mode and the default device are put aside for this thread. The default dtype, which all threads
    share, is not: what is made inside names its dtype. In a process forked from one in which torch ran, torch would
    wait for threads that are not there, so it gets one thread there, as PyTorch's data loader does it.
    """
    import torch

    _mind_forks()
    device = torch.device(device)
    with failing_as(error, "torch", advice), ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        for kind in {"cpu", device.type}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device() != torch.device("cpu"):
            stack.enter_context(device)
        yield


_torch_process: int | None = None
"""The process in which torch first ran for us."""


def _mind_forks() -> None:
    import torch

    global _torch_process
    _torch_process = _torch_process or os.getpid()
    if os.getpid() != _torch_process and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


def keep_after_forks(owner: object) -> None:
    """Never take `owner` apart in a forked process.

    What it holds of ONNX Runtime or OpenVINO still runs there, in the caller's thread, but its end would wait for
    threads that are gone.
    """
    _kept.add(owner)


_kept: WeakSet[Any] = WeakSet()


def _keep() -> None:
    for owner in _kept:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep)


class OnnxSession:
    """A graph in ONNX Runtime on the CPU, which can be pickled and copied.

    content: the graph; kept for pickling. spin: whether waiting threads stay busy, which is fastest when nothing else
    runs. Raises what ONNX Runtime raises, whose exceptions share no base class.
    """

    def __init__(self, content: bytes | mmap, spin: bool = True) -> None:
        import onnxruntime  # type: ignore[import-untyped]

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = thread_count()
        if not spin:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._content, self._spin = content, spin
        self._session = onnxruntime.InferenceSession(bytes(content), options, providers=["CPUExecutionProvider"])
        keep_after_forks(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return OnnxSession, (bytes(self._content), self._spin)

    @property
    def metadata(self) -> Mapping[str, str]:
        """The graph's metadata."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    @property
    def inputs(self) -> list[str]:
        """The names of the graph's inputs."""
        return [node.name for node in self._session.get_inputs()]

    def run(self, inputs: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[np.float32]]:
        """The graph's outputs, in order."""
        return list(self._session.run(None, inputs))
