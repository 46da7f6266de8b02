"""What every engine takes and gives, and the check of what it takes. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from apvit.files import counted
from apvit.weights import Card

PRECISIONS = ("float32", "bf16")
"""What torch can compute in. Exported files are float32, or int8 where they were exported so."""


class EngineError(ValueError):
    """An engine or device is not there, or an input does not fit the network."""


class Output(NamedTuple):
    """What a network says about B faces: probabilities, and what pooling kept (see `apvit.nn.Trace`)."""

    probabilities: NDArray[np.float32]  # [B, K] softmax of the logits divided by the card's temperature; rows sum to 1
    patch_scores: NDArray[np.float32]  # [B, N] APP's score of every patch, row-major on the grid
    patches: NDArray[np.int64]  # [B, kept] ascending ids of the patches that APP kept
    tokens: tuple[NDArray[np.int64], ...]  # per block [B, kept_i] patch ids whose tokens are alive after it
    embedding: NDArray[np.float32]  # [B, D] class token after the final norm


@dataclass(frozen=True)
class Runtime:
    """What computes a figure: two engines, two precisions and two versions give different last digits."""

    engine: str
    """In `ENGINES`."""
    version: str
    """Of the package that runs the network."""
    device: str
    """"cpu", or a GPU with its name."""
    threads: int | None
    """Of the CPU; None where the engine chooses and does not tell."""
    precision: str
    """In PRECISIONS, or "int8"; with what else changes the arithmetic, such as "float32, compiled"."""


class Engine(Protocol):
    """Runs one weight file."""

    @property
    def card(self) -> Card:
        """The card of the weights."""

    @property
    def runtime(self) -> Runtime:
        """What runs them here."""

    def run(self, x: NDArray[np.float32]) -> Output:
        """x [B, C, H, W] float32, normalised as the card says (`card.preprocessing.normalise`); B may be 0.

        The whole of x is one batch; its size is the caller's choice. Raises EngineError for another shape or dtype, for
        NaN or infinity, and where what runs the network fails, such as for lack of memory.
        """


def check_input(x: NDArray[Any], card: Card) -> None:
    """Raise EngineError unless x is float32 [B, C, S, S] and finite, C and S being the card's."""
    channels, size = card.preprocessing.channels, card.preprocessing.size
    if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.shape[1:] != (channels, size, size):
        got = f"{x.dtype} {list(x.shape)}" if isinstance(x, np.ndarray) else type(x).__name__
        raise EngineError(f"expected a numpy float32 array [B, {channels}, {size}, {size}], got {got}")
    bad = np.flatnonzero(~np.isfinite(x).all(axis=(1, 2, 3)))
    if len(bad):
        raise EngineError(f"NaN or infinity in {len(bad)} of {counted(x, 'face')}, the first is number {bad[0]}")
