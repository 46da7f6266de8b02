"""apvit: facial expression recognition with attentive pooling (APViT).

Names are resolved on first use, so that `import apvit` costs nothing and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from apvit.nn import APViT, create_model, list_architectures
    from apvit.recognition import Face, Recognizer
    from apvit.weights import Card, from_official, list_weights, load_weights, save_weights

_HOME = {
    "APViT": "apvit.nn",
    "create_model": "apvit.nn",
    "list_architectures": "apvit.nn",
    "Card": "apvit.weights",
    "from_official": "apvit.weights",
    "list_weights": "apvit.weights",
    "load_weights": "apvit.weights",
    "save_weights": "apvit.weights",
    "Face": "apvit.recognition",
    "Recognizer": "apvit.recognition",
}

__all__ = [
    "APViT",
    "Card",
    "Face",
    "Recognizer",
    "create_model",
    "from_official",
    "list_architectures",
    "list_weights",
    "load_weights",
    "save_weights",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'apvit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
