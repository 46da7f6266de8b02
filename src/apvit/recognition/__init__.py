"""Pictures -> faces with expressions: the recognizer, its results, where pictures come from and where results go."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apvit.recognition.profile import Profile
    from apvit.recognition.recognizer import FaceWarning, Recognizer
    from apvit.recognition.results import Face, Recognition

_HOME = {
    "Face": "results",
    "FaceWarning": "recognizer",
    "Profile": "profile",
    "Recognition": "results",
    "Recognizer": "recognizer",
}

__all__ = ["Face", "FaceWarning", "Profile", "Recognition", "Recognizer"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
