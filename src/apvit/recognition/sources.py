"""From what a user names on the command line to pictures: files, folders, patterns, and lists on standard input."""

from __future__ import annotations

import fnmatch
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp", ".avif"),
    *(".heic", ".heif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
)
"""What counts as a picture inside a folder. It names more than can be read everywhere (heic): a picture that cannot be
read is reported, which is better than passing it over in silence."""


def expand_sources(
    inputs: Iterable[str],
    *,
    skip: str | Path | None = None,
    stdin: Iterable[bytes] | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> Iterator[str]:
    """The paths of the pictures that `inputs` name, lazily and in a fixed order.

    - a file: itself, whatever its suffix
    - a folder: its pictures (by suffix), then those of its subfolders, each sorted by name; hidden files and folders,
      links to folders and the folder `skip` (where results go) are passed over
    - a pattern with `*`, `?`, `[...]` or `**` (quoted, so that the shell leaves it alone): what it matches, sorted
      folder by folder; hidden names only where the pattern names the dot
    - `-`: one of the above per line of standard input (`stdin`, default the process's own)
    - anything else, also a pattern without a match: itself, so that reading it gives the error

    A folder without pictures, and an empty list, are a `warn`ing of one sentence.
    """
    skipped = None if skip is None else os.path.realpath(skip)
    for name in inputs:
        if name == "-":
            found = 0
            for line in sys.stdin.buffer if stdin is None else stdin:
                entry = os.fsdecode(line.rstrip(b"\r\n"))
                if entry:
                    found += 1
                    yield from _expand(entry, skipped, warn)
            if not found:
                warn("standard input named no picture")
        else:
            yield from _expand(name, skipped, warn)


def _expand(name: str, skipped: str | None, warn: Callable[[str], None]) -> Iterator[str]:
    # A name that exists is taken literally: "photo[1].jpg" is a file more often than a pattern.
    if os.path.isdir(name):
        yield from _folder(name, skipped, warn)
    elif os.path.lexists(name) or not _is_pattern(name):
        yield name
    else:
        recursive = "**" in Path(name).parts
        found = False
        for match in _match(Path(name).anchor, [p for p in Path(name).parts if p != Path(name).anchor], skipped):
            if not os.path.isdir(match):
                found = True
                yield match
            elif not recursive and os.path.realpath(match) != skipped:  # "**" also matches what is in the folder
                found = True
                yield from _folder(match, skipped, warn)
        if not found:
            yield name


def _folder(folder: str, skipped: str | None, warn: Callable[[str], None]) -> Iterator[str]:
    empty = True
    for picture in _pictures(folder, skipped):
        empty = False
        yield picture
    if empty:
        warn(f"no pictures in the folder {folder}")


def _pictures(folder: str, skipped: str | None) -> Iterator[str]:
    try:
        files, folders = _list(folder)
    except OSError:
        yield folder  # reading it gives the error, and the other inputs go on
        return
    for name in files:
        if not name.startswith(".") and os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES:
            yield os.path.join(folder, name)
    for name in folders:
        path = os.path.join(folder, name)
        if not name.startswith(".") and not os.path.islink(path) and os.path.realpath(path) != skipped:
            yield from _pictures(path, skipped)


def _match(folder: str, parts: list[str], skipped: str | None) -> Iterator[str]:
    """Paths below `folder` ("" is the current one) that match the pattern's `parts`, in sorted order."""
    part, rest = parts[0], parts[1:]
    if part != "**" and not _is_pattern(part):
        path = os.path.join(folder, part)
        if rest:
            yield from _match(path, rest, skipped)
        elif os.path.lexists(path):
            yield path
        return
    if part == "**":
        if not rest:
            yield from _pictures(folder or os.curdir, skipped)
            return
        yield from _match(folder, rest, skipped)
    try:
        files, folders = _list(folder or os.curdir)
    except OSError:  # a pattern reaches only into what can be read, as in a shell
        return
    if part == "**":
        for name in folders:
            path = os.path.join(folder, name)
            if not name.startswith(".") and not os.path.islink(path) and os.path.realpath(path) != skipped:
                yield from _match(path, parts, skipped)
        return
    for name in folders if rest else sorted(files + folders):
        if fnmatch.fnmatchcase(name, part) and (part.startswith(".") or not name.startswith(".")):
            path = os.path.join(folder, name)
            yield from _match(path, rest, skipped) if rest else (path,)


def _list(folder: str) -> tuple[list[str], list[str]]:
    """Names of the files and of the folders in `folder`, each sorted."""
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            (folders if entry.is_dir() else files).append(entry.name)
    return sorted(files), sorted(folders)


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[")
