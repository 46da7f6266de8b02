"""A folder of annotated pictures and videos: which name each gets, and how a picture is written."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from apvit.files import completing, extended

JPEG_SUFFIXES = (".jpg", ".jpeg")
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Suffixes that an annotated video can have, and FFmpeg's names for them."""

MARK = b"annotated by apvit"
"""Written into every file, so that a later run knows which pictures of a folder it may replace."""


class Album:
    """Saves annotated pictures into `folder`, which is made where it is missing, and gives names to other files there.

    A picture keeps its file's name; JPEG stays JPEG, anything else becomes PNG. Where the name is taken, by another
    file of this run or by one that was not annotated, "-2", "-3" and so on are put behind it: files of the same name
    from several folders all stay, and no photograph or video is ever overwritten. Raises OSError.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._used: set[str] = set()  # in lower case: some file systems take upper and lower case for the same
        self._numbers: dict[str, int] = {}  # the last one given to a name, so that ten thousand "frame.jpg" stay fast

    def save(self, source: str | Path, picture: Image.Image) -> Path:
        """Write the annotated `picture` (RGB) of `source`; the path it got. It appears complete or not at all."""
        suffix = Path(source).suffix
        path = self.place(source, suffix if suffix.lower() in JPEG_SUFFIXES else ".png")
        with completing(path) as partial:
            if path.suffix == ".png":
                info = PngInfo()
                info.add_text("Comment", MARK.decode())
                picture.save(partial, "PNG", pnginfo=info)
            else:
                picture.save(partial, "JPEG", quality=92, comment=MARK)
        return path

    def place(self, source: str | Path, suffix: str) -> Path:
        """The path for a file of `source` that ends in `suffix`; nobody else gets it."""
        name = Path(source)
        first = (name.stem + suffix).lower()
        number = self._numbers.get(first, 0) + 1
        while not self._is_free(path := self.folder / _numbered(name, number, suffix)):
            number += 1
        self._numbers[first] = number
        self.reserve(path)
        return path

    def reserve(self, path: Path) -> None:
        """Give nobody this path, which an earlier start of this run wrote."""
        self._used.add(path.name.lower())

    def _is_free(self, path: Path) -> bool:
        """Whether nothing stands there that this run wrote, or that is not annotated."""
        if path.name.lower() in self._used:
            return False
        if not os.path.lexists(path):
            return True
        if path.suffix.lower() in CONTAINERS:
            import av

            try:
                with av.open(str(path)) as video:
                    return MARK.decode() in (video.metadata.get("comment"), video.metadata.get("COMMENT"))
            except (av.FFmpegError, OSError):
                return False
        try:
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                return image.info.get("comment", image.info.get("Comment")) in (MARK, MARK.decode())
        except (OSError, ValueError, SyntaxError):
            return False


def _numbered(name: Path, number: int, suffix: str) -> str:
    return extended(name.stem, suffix if number == 1 else f"-{number}{suffix}", of=name.name)
