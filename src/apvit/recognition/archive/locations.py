"""Where an archive's files lie: a local path or a URI, each as a file system of pyarrow and a path in it."""

from __future__ import annotations

import os
import re
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit

from apvit.recognition.archive.errors import ArchiveError
from apvit.recognition.sources import Kind, is_http, kind_of_suffix

_URI = re.compile(r"(?P<root>[A-Za-z][A-Za-z0-9+.-]+://[^/?]*)/?(?P<path>.*?)(?P<query>\?\w+=.*)?", re.DOTALL)


def is_uri(name: str) -> bool:
    """Whether `name` is a URI ("s3://bucket/key") and not a local path."""
    return _URI.fullmatch(name) is not None


def locate(name: str) -> tuple[Any, str]:
    """(pyarrow.fs.FileSystem, path in it) of a local path or a URI: s3, gs, abfs, hdfs, file and what pyarrow adds.

    Keys are taken as they are written ("s3://bucket/a b.jpg"), not percent-decoded, as the stores' own tools do; only
    file: URIs are decoded. Options follow the path ("?endpoint_override=host:9000&scheme=http&region=r"). Raises
    ArchiveError for a scheme that pyarrow does not know and for options it does not understand.
    """
    from pyarrow.fs import FileSystem, LocalFileSystem  # type: ignore[import-untyped]

    match = _URI.fullmatch(name)
    if match is None:
        return LocalFileSystem(), os.path.abspath(name)
    try:
        if match["root"].lower().startswith("file:"):
            filesystem, path = FileSystem.from_uri(name)
            return filesystem, path
        filesystem, root = _open(match["root"] + (match["query"] or ""))
    except (ValueError, ImportError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ArchiveError(f"pyarrow cannot open {name!r} ({reason}); check the URI") from None
    return filesystem, f"{root.rstrip('/')}/{match['path']}".rstrip("/")


def join(name: str, part: str) -> str:
    """The file or folder `part` ("a/b.jpg") of the folder `name`, a local path or a URI, whose options stay last."""
    match = _URI.fullmatch(name)
    if match is None:
        return os.path.join(name, part)
    if match["root"].lower().startswith("file:"):
        part = quote(part)
    path = "/".join(p for p in (match["path"].rstrip("/"), part) if p)
    return f"{match['root']}/{path}{match['query'] or ''}"


def kind(name: str) -> Kind | None:
    """What a local path or URI names by its suffix, whatever options follow it."""
    match = _URI.fullmatch(name)
    if match is None:
        return kind_of_suffix(name)
    if is_http(name):
        return "video" if kind_of_suffix(urlsplit(name).path) == "video" else "picture"
    return kind_of_suffix(match["path"])


def absolute(name: str, folder: str = os.curdir) -> str:
    """A name that means the same in every folder of every machine; a relative one counts from `folder`."""
    return name if is_uri(name) else os.path.abspath(os.path.join(folder, name))


@cache
def _open(root: str) -> tuple[Any, str]:
    # One client for a bucket, not one for every picture in it.
    from pyarrow.fs import FileSystem

    filesystem, path = FileSystem.from_uri(root)
    return filesystem, path
