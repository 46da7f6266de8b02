"""Weight files: the card, the one-file format, where they come from, and the import of official checkpoints.

Cards are read without torch; names that need it are resolved on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .card import FORMAT, Card, CardError, Preprocessing
from .file import load_weights, read_card, save_weights
from .sources import WeightsError, find_weights, list_weights

if TYPE_CHECKING:
    from .official import OfficialCheckpointError, convert_official, from_official

_LAZY = ("OfficialCheckpointError", "convert_official", "from_official")

__all__ = [
    "FORMAT",
    "Card",
    "CardError",
    "OfficialCheckpointError",
    "Preprocessing",
    "WeightsError",
    "convert_official",
    "find_weights",
    "from_official",
    "list_weights",
    "load_weights",
    "read_card",
    "save_weights",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(".official", __name__), name)
    raise AttributeError(f"module 'apvit.weights' has no attribute {name!r}")
