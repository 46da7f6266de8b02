"""Where `apvit export` keeps the exports that engines find by themselves: one per content of a weight file."""

from __future__ import annotations

import os
from pathlib import Path

from apvit.files import sha256

from .dial import Keep

VERSION = 2
"""Part of a cached export's name; it rises when exports of the same weights change."""


def cache_folder() -> Path:
    """$APVIT_CACHE, or else the folder apvit in the user's cache folder; it may not exist yet."""
    if folder := os.environ.get("APVIT_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "apvit"


def export_path(weights: Path, keep: Keep | None = None) -> Path:
    """The cached export's place for the content of this weight file and keep, whether it is there or not."""
    kept = "" if keep is None else "-keep-" + str(keep).replace(":", "-")
    return cache_folder() / "exports" / f"{sha256(weights)[:32]}-v{VERSION}{kept}.onnx"


def cached_export(weights: Path, keep: Keep | None = None) -> Path | None:
    """The cached export of this weight file with this keep, or None."""
    if not (cache_folder() / "exports").is_dir():  # saves reading the file
        return None
    path = export_path(weights, keep)
    return path if path.is_file() else None
