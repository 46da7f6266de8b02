"""Weight files: the card, the one-file format, where they come from, official checkpoints, starting weights.

Cards are read without torch; names that need it are resolved on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .card import FORMAT, Card, CardError, Preprocessing
from .file import load_weights, read_card, save_weights
from .sources import WeightsError, find_weights, list_weights

if TYPE_CHECKING:
    from .checkpoints import CheckpointError, ImportReport
    from .official import convert_official, from_official
    from .pretrained import load_ir50, load_vit_small

_LAZY = {
    "CheckpointError": ".checkpoints",
    "ImportReport": ".checkpoints",
    "convert_official": ".official",
    "from_official": ".official",
    "load_ir50": ".pretrained",
    "load_vit_small": ".pretrained",
}

__all__ = [
    "FORMAT",
    "Card",
    "CardError",
    "CheckpointError",
    "ImportReport",
    "Preprocessing",
    "WeightsError",
    "convert_official",
    "find_weights",
    "from_official",
    "list_weights",
    "load_ir50",
    "load_vit_small",
    "load_weights",
    "read_card",
    "save_weights",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module 'apvit.weights' has no attribute {name!r}")
