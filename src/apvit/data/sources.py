"""A dataset as its owner ships it: a folder or a zip of files, read alike."""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType

from apvit.data.errors import DataError
from apvit.files import reason, sha256

MAX_FILES = 20_000_000
"""No dataset has more files (Aff-Wild2 has some millions); whoever gave a whole disk hears of it."""
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
            self._names = set(_walk(self.path))
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

    @cached_property
    def names(self) -> list[str]:
        """All files, sorted."""
        return sorted(self._names)

    @cached_property
    def _by_file(self) -> dict[str, list[str]]:
        """The names by their last part, so that looking for one in a million is quick."""
        by_file = defaultdict(list)
        for name in self._names:
            # __MACOSX/ is what macOS adds to zips: a shadow of every file.
            if not name.startswith("__MACOSX/"):
                by_file[name.rpartition("/")[2]].append(name)
        return dict(by_file)

    def find(self, ending: str) -> str | None:
        """The name of the one file whose last parts are `ending`; None where there is none, DataError for several."""
        alike = self._by_file.get(ending.rpartition("/")[2], [])
        found = [name for name in alike if f"/{name}".endswith(f"/{ending}")]
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
        return {self.path.name: sha256(self.path)}


def _walk(folder: Path) -> Iterator[str]:
    """The files below `folder`, links followed; DataError for a folder it may not list, or for too many files.

    A link to a folder that it stands in is not followed: that would never end.
    """
    count = 0
    # Folders to list, with the identities of those they stand in.
    waiting: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(str(folder), "", frozenset())]
    while waiting:
        path, prefix, above = waiting.pop()
        try:
            identity = os.stat(path)
            if (identity.st_dev, identity.st_ino) in above:
                continue
            above |= {(identity.st_dev, identity.st_ino)}
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir():
                        waiting.append((entry.path, f"{prefix}{entry.name}/", above))
                    elif _is_file(entry):
                        count += 1
                        yield prefix + entry.name
        except OSError as error:
            # Passing over it would make a split look absent, and its leaks with it.
            raise DataError(f"cannot list the folder {path}: {reason(error)}") from error
        if count > MAX_FILES:
            raise DataError(f"{folder} holds more than {MAX_FILES:,} files: give the dataset's own folder")


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a link to one: not a pipe, and not a link to nothing."""
    try:
        return stat.S_ISREG(entry.stat().st_mode) if entry.is_symlink() else entry.is_file()
    except OSError:
        return False
