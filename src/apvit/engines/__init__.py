"""Engines run a weight file on arrays: normalised faces in, probabilities, kept patches and embeddings out."""

from __future__ import annotations

from pathlib import Path

from .engine import Engine, EngineError, Output

ENGINES = ("torch",)

__all__ = ["ENGINES", "Engine", "EngineError", "Output", "create_engine"]


def create_engine(ref: str | Path, engine: str = "auto", device: str = "auto") -> Engine:
    """The weights `ref` (bundled name, path or hub reference) on an engine: "torch", or "auto" for the best there is.

    device: "auto" (a GPU where torch has one), "cpu", "cuda", "cuda:1", ... Raises EngineError for an unknown engine or
    a device that is not there, WeightsError and CardError for weights that cannot be used.
    """
    if engine not in ("auto", *ENGINES):
        raise EngineError(f"unknown engine {engine!r}; known are auto, {', '.join(ENGINES)}")
    from .torch_engine import TorchEngine

    return TorchEngine(ref, device=device)
