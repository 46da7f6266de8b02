"""What reading the datasets' label files has in common: their text and digests, and which file is a name's picture."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence

from apvit.data.errors import DataError
from apvit.data.sources import Source
from apvit.files import counted

PICTURE_SUFFIXES = frozenset({"jpg", "jpeg", "jpe", "jfif", "png", "bmp", "gif", "tif", "tiff", "webp"})


def is_picture(name: str) -> bool:
    """Whether a file is called like a picture; the shadows that macOS adds to zips (`__MACOSX/`, `._x.jpg`) are not."""
    file = name.rpartition("/")[2]
    _, dot, suffix = file.rpartition(".")
    return (
        bool(dot)
        and suffix.lower() in PICTURE_SUFFIXES
        and not file.startswith("._")
        and not name.startswith("__MACOSX/")
    )


def stem_of(name: str) -> str:
    """The file's name without its folder and suffix."""
    return name.rpartition("/")[2].rpartition(".")[0]


def some(things: Sequence[str], noun: str) -> str:
    """Their number and the first: "1,200 pictures, the first: train/a.jpg"."""
    return f"{counted(things, noun)}, the first: {things[0]}"


class LabelFiles:
    """Reads the label files of one source, keeping what a `Listing` says of them: digests and what is malformed."""

    def __init__(self, source: Source):
        self.source = source
        self.malformed: list[str] = []
        self._digests: dict[str, hashlib._Hash] = {}

    @property
    def inputs(self) -> dict[str, str]:
        """SHA-256 of what was read, by name; files read as one have one digest of all their bytes in that order."""
        return {name: digest.hexdigest() for name, digest in self._digests.items()}

    def read(self, name: str, *, one_of: str | None = None) -> bytes | None:
        """A file's contents; None, and a sentence in `malformed`, where it cannot be read.

        `one_of` names the many small files that share one digest, such as "Annotation/manual/*".
        """
        try:
            data = self.source.read(name)
        except DataError as error:
            self.malformed.append(str(error))
            return None
        self._digests.setdefault(one_of or name, hashlib.sha256()).update(data)
        return data

    def lines(self, name: str, *, one_of: str | None = None) -> Iterator[tuple[int, str]]:
        """The number, counted from 1, and the text of each line that is not blank."""
        data = self.read(name, one_of=one_of)
        # What is not UTF-8 is no label either: the line is reported as it reads, not as a broken file.
        for number, line in enumerate((data or b"").decode("utf-8-sig", errors="replace").splitlines(), 1):
            if line.strip():
                yield number, line

    def rows(self, name: str) -> Iterator[tuple[int, list[str]]]:
        """The line number and the fields, stripped, of each line of a CSV that is not empty."""
        data = self.read(name)
        text = io.TextIOWrapper(io.BytesIO(data or b""), encoding="utf-8-sig", errors="replace", newline="")
        reader = csv.reader(text)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, [field.strip() for field in row]
        except csv.Error as error:
            self.malformed.append(f"line {reader.line_num} of {name} is not a line of a table ({error})")

    def index(self, names: Iterable[str], key: Callable[[str], str | None]) -> dict[str, str]:
        """{key: file}; None leaves a file out, and files that share a key are reported, the first of them taken."""
        index: dict[str, str] = {}
        repeated = []
        for name in names:
            identity = key(name)
            if identity is not None and index.setdefault(identity, name) != name:
                repeated.append(f"{index[identity]} and {name}")
        if repeated:
            self.malformed.append(f"in two places stand {some(repeated, 'picture')}: give a folder with one of them")
        return index


def decimal(text: str) -> int | None:
    """A whole number, possibly negative; None for anything else."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() else None
