"""A dataset as its owner ships it: a folder or a zip of files, read alike."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from pathlib import Path
from types import TracebackType

from apvit.data.errors import DataError

MAX_DEPTH = 3
"""Folders deeper than this below the given one are not searched; FERPlus keeps its tables one folder down."""
MAX_FILE_BYTES = 1 << 30
"""No file of a dataset is larger; a zip that claims so is broken or hostile."""


class Source:
    """The files below a folder or in a zip, by their relative names with forward slashes.

    Raises DataError where `path` is neither. Use it as a context manager.
    """

    def __init__(self, path: str | Path, expected: str):
        """`expected` says in the error what was looked for."""
        self.path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        if self.path.is_dir():
            self._names = _walk(self.path)
        elif self.path.is_file():
            try:
                self._zip = zipfile.ZipFile(self.path)
            except (zipfile.BadZipFile, OSError) as error:
                raise DataError(f"{self.path} is not a readable zip ({error}); expected {expected}") from error
            self._names = {info.filename for info in self._zip.infolist() if not info.is_dir()}
        else:
            raise DataError(f"{self.path} does not exist; expected {expected}")

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._zip is not None:
            self._zip.close()

    @property
    def is_zip(self) -> bool:
        """Whether this is a zip rather than a folder."""
        return self._zip is not None

    @property
    def names(self) -> list[str]:
        """All files, sorted."""
        return sorted(self._names)

    def find(self, ending: str) -> str | None:
        """The name of the one file whose last parts are `ending`; None where there is none, DataError for several."""
        # __MACOSX/ is what macOS adds to zips: a shadow of every file.
        found = [name for name in self._names if f"/{name}".endswith(f"/{ending}") and not name.startswith("__MACOSX/")]
        if len(found) > 1:
            raise DataError(f"{self.path} holds {ending} more than once ({', '.join(sorted(found))}): give one of them")
        return found[0] if found else None

    def read(self, name: str, *, most: int = MAX_FILE_BYTES) -> bytes:
        """The contents of one file; DataError where it is missing, unreadable or larger than `most` bytes."""
        if name not in self._names:
            raise DataError(f"{name} is missing in {self.path}")
        try:
            size = (self.path / name).stat().st_size if self._zip is None else self._zip.getinfo(name).file_size
            if size > most:
                raise DataError(f"{name} in {self.path} has {size} bytes, more than the {most} that make sense")
            return (self.path / name).read_bytes() if self._zip is None else self._zip.read(name)
        # RuntimeError is zipfile's answer to an encrypted member or an unknown compression.
        except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
            raise DataError(f"{name} in {self.path} cannot be read ({error})") from error

    def archive_digest(self) -> dict[str, str]:
        """{file name: SHA-256} of the zip; empty for a folder, whose files are hashed one by one."""
        if self._zip is None:
            return {}
        with self.path.open("rb") as file:
            return {self.path.name: hashlib.file_digest(file, "sha256").hexdigest()}


def _walk(folder: Path) -> set[str]:
    """The files below `folder`, links followed, no deeper than MAX_DEPTH; DataError for a folder it may not list."""

    def refuse(error: OSError) -> None:
        # Passing over it would make a split look absent, and its leaks with it.
        raise DataError(f"cannot list the folder {error.filename}: {error.strerror}") from error

    names = set()
    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        relative = Path(parent).relative_to(folder)
        if len(relative.parts) >= MAX_DEPTH:
            folders.clear()
        names |= {(relative / file).as_posix() for file in files if os.path.isfile(os.path.join(parent, file))}
    return names
