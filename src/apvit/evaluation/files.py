"""Report files, each written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text`; OSError where the disk refuses, leaving what was there."""
    _replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_picture(path: Path, figure: Figure) -> None:
    """Write `figure` as PNG, 150 dots an inch."""
    _replace(path, lambda temporary: figure.savefig(temporary, dpi=150, format="png"))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
