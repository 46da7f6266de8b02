"""API keys: who may ask, where not everybody may."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path

from .settings import SettingsError

VARIABLE = "APVIT_API_KEYS"
"""Environment variable with keys, separated by commas or white space."""

SHORTEST = 16
"""Characters of a key; fewer can be guessed."""


def read_keys(file: Path | None) -> tuple[str, ...]:
    """The keys of a file (one a line, # begins a comment), else of the environment; none where neither has any.

    Raises SettingsError for a key that is too short or no ASCII text, and for a file without keys; OSError for one that
    cannot be read.
    """
    if file is None:
        where, keys = VARIABLE, os.environ.get(VARIABLE, "").replace(",", " ").split()
    else:
        lines = file.read_text("utf-8").splitlines()
        where, keys = str(file), [key for line in lines if (key := line.partition("#")[0].strip())]
        if not keys:
            raise SettingsError(f"{where} holds no API key; write one a line, or leave the option out")
    for number, key in enumerate(keys, 1):
        if len(key) < SHORTEST or not key.isascii() or " " in key:
            raise SettingsError(
                f"API key {number} of {where} is no ASCII text of at least {SHORTEST} characters; make one with "
                "python -c 'import secrets; print(secrets.token_urlsafe())'"
            )
    return tuple(keys)


class KeyRing:
    """Knows whether a key is one of ours, without telling by its time how nearly it was."""

    def __init__(self, keys: Iterable[str]) -> None:
        # Digests have one length, and what is compared is nothing that a caller chose.
        self._digests = [_digest(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def admits(self, key: str) -> bool:
        """Whether `key` is one of the keys. Compares it with all of them, in constant time."""
        digest = _digest(key)
        return sum(hmac.compare_digest(digest, one) for one in self._digests) > 0


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
