"""Files that get their name only when they are complete; until then they stand beside it as NAME.partial."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def partial_name(path: str | Path) -> Path:
    """Where the file `path` stands until it is complete, and what a run that ends early leaves behind."""
    path = Path(path)
    return path.with_name(f"{path.name}.partial")


@contextmanager
def completing(path: Path, *, whole: bool = True) -> Iterator[Path]:
    """Gives the block the name to write to, which becomes `path` at its end, or is removed after an error.

    With `whole` false it stays as it is, beside an older `path`: what it shows ended early.
    """
    partial = partial_name(path)
    try:
        yield partial
        if whole:
            os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
