"""From what a user names to pictures and videos: files, folders, patterns, lists; and what each name is."""

from __future__ import annotations

import codecs
import fnmatch
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from io import BufferedIOBase, IOBase
from itertools import compress, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
from PIL import Image

from apvit.faces.pictures import PictureError, read_picture
from apvit.files import counted, reason
from apvit.recognition.video.clip import is_stream

if TYPE_CHECKING:
    from apvit.recognition.recognizer import PictureSource

PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".ico", ".gif", ".tif", ".tiff"),
    *(".webp", ".avif", ".avifs", ".heic", ".heif", ".heics", ".heifs", ".hif"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga"),
)
"""What counts as a picture inside a folder. It names more than can be read everywhere (heic): a picture that cannot be
read is reported, which is better than passing it over in silence."""

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".divx", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v"),
    *(".vob", ".ts", ".m2t", ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".ogm"),
    *(".mxf", ".dv", ".y4m", ".h264", ".h265", ".hevc", ".rmvb"),
)
"""What counts as a video inside a folder."""

LIST_SUFFIXES = (".txt", ".list")
TABLE_SUFFIX = ".parquet"
TAR_SUFFIXES = (".tar", ".tgz", ".tar.gz")

Kind: TypeAlias = Literal["picture", "video", "list", "table", "tar", "folder", "store"]
"""What a name can be; a "table" is a Parquet file, a "store" a URI such as s3://bucket/folder."""

_KINDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("picture", PICTURE_SUFFIXES),
    ("video", VIDEO_SUFFIXES),
    ("list", LIST_SUFFIXES),
    ("table", (TABLE_SUFFIX,)),
    ("tar", TAR_SUFFIXES),
)
_SUFFIXES = {suffix: kind for kind, suffixes in _KINDS for suffix in suffixes}
_ARCHIVE = "`apvit recognize INPUT --ray local --output FOLDER`"
_NO_PICTURES: dict[Kind, str] = {
    "store": f"a URI, which only an archive run reads: {_ARCHIVE}",
    "table": f"a Parquet file, which only an archive run reads: {_ARCHIVE}",
    "video": "a video, where a picture is needed; `apvit recognize` and `Recognizer.video` take videos",
    "tar": f"a tar file, which only an archive run reads: {_ARCHIVE}",
    "list": f"a list, which is read from standard input (-), or by an archive run: {_ARCHIVE}",
}
# In a folder, a name without a suffix says nothing, and .ts is also TypeScript's.
_BY_CONTENT = ("", ".ts")

_HEAD = 512  # bytes, of which the signatures below need no more
_SIGNATURES: tuple[tuple[Kind, re.Pattern[bytes]], ...] = (
    (
        "picture",
        re.compile(
            rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|BM.{4}\0{4}|II\*\0|MM\0\*|RIFF.{4}WEBP|\0\0\x01\0[^\0]\0|P[1-7fF]\s"
            rb"|.{4}ftyp(?:avi[fs]|he[iv][cxms]|mif1|msf1)|\0\0\0\x0cjP  |\xff\x4f\xff\x51",
            re.DOTALL,
        ),
    ),
    (
        "video",
        re.compile(
            rb".{4}ftyp|\0.{3}(?:moov|mdat|wide|free|skip)|\x1aE\xdf\xa3|RIFF.{4}AVI |FLV\x01|OggS|\x30\x26\xb2\x75"
            rb"|\0\0\x01[\xba\xb3]|G.{187}G|.{4}G.{191}G|YUV4MPEG2|\.RMF|\x06\x0e\x2b\x34",
            re.DOTALL,
        ),
    ),
    ("table", re.compile(rb"PAR1")),
    ("tar", re.compile(rb".{257}ustar", re.DOTALL)),
)

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_RECENT = 1 << 16  # names kept as a set until they are sorted in among the others
MAX_DOWNLOAD = 1 << 28
"""Bytes of a picture that is fetched by its URL; no photograph has more."""
PATIENCE = 20.0
"""Seconds to wait for a server's next bytes."""


def kind_of(name: str) -> Kind:
    """What `name` is: by the first bytes of the file, and by its suffix where they do not tell or there is no file.

    "webcam:N" and the URL of a stream are videos. Of an http(s) URL, a suffix is believed, so that nothing is fetched
    twice. What nothing is known of is a picture: reading it gives the error.
    """
    if is_http(name):
        kind = kind_of_suffix(urlsplit(name).path)
        if kind is None:
            try:
                with _get(name) as answer:
                    kind = _signature(answer.read(_HEAD))
            except PictureError:
                return "picture"
        return kind or "video"
    if is_stream(name):
        return "video"
    if is_uri(name):
        return "store"
    if os.path.isdir(name):
        return "folder"
    return _signature(_head(name)) or kind_of_suffix(name) or "picture"


def kind_of_suffix(path: str) -> Kind | None:
    """What a file is by the suffix of its name; None where that does not tell."""
    path = path.lower()
    return _SUFFIXES.get(TAR_SUFFIXES[-1] if path.endswith(TAR_SUFFIXES) else os.path.splitext(path)[1])


def kind_in_folder(path: str) -> Kind | None:
    """What a file that a folder holds is: by its suffix, and by its content only where that says nothing."""
    return _signature(_head(path)) if os.path.splitext(path)[1].lower() in _BY_CONTENT else kind_of_suffix(path)


def is_uri(name: str) -> bool:
    """Whether `name` has the form of a URI, such as s3://bucket/key or https://host/photo.jpg."""
    return _URI.match(name) is not None


def is_http(name: str) -> bool:
    """Whether `name` is an http or https URL."""
    return name.lower().startswith(("http://", "https://"))


def read_source(source: PictureSource) -> npt.NDArray[np.uint8]:
    """`read_picture`, also of the http(s) URL of one: uint8 [H, W, 3]. Raises PictureError."""
    if isinstance(source, str) and is_http(source):
        return read_picture(download(source), name=source)
    if isinstance(source, str) and is_uri(source):
        raise PictureError(f"{source} is {_NO_PICTURES['store']}")
    try:
        return read_picture(source)
    except PictureError:
        if (
            isinstance(source, (str, Path))
            and os.path.isfile(source)
            and (kind := kind_of(str(source))) in _NO_PICTURES
        ):
            raise PictureError(f"{source} is {_NO_PICTURES[kind]}") from None
        raise


def taken(source: PictureSource) -> PictureSource | PictureError:
    """What a source shows now. A program may refill an array, or go on to the next frame of a PIL image, any time."""
    if isinstance(source, np.ndarray):
        return source.copy()
    if isinstance(source, Image.Image):
        try:
            return read_picture(source)
        except PictureError as error:
            return error
    return source


def is_one_source(sources: object) -> bool:
    """Whether iterating would give the rows, bytes or lines of one picture, or nothing at all."""
    if isinstance(sources, (str, bytes, bytearray, memoryview, os.PathLike, IOBase)):
        return True
    if getattr(sources, "ndim", 4) in (0, 2, 3):  # of an array or tensor; with four dimensions it is several pictures
        return True
    return not any(hasattr(type(sources), name) for name in ("__iter__", "__getitem__"))


def download(url: str) -> bytes:
    """The bytes of the picture at an http(s) URL, at most `MAX_DOWNLOAD`. Raises PictureError."""
    with _get(url) as answer:
        try:
            data: bytes = answer.read(MAX_DOWNLOAD + 1)
        except Exception as error:  # an HTTP client's own errors are of many kinds
            raise _unreachable(url, error) from error
    if len(data) > MAX_DOWNLOAD:
        raise PictureError(f"{url} has more than the {MAX_DOWNLOAD:,} bytes allowed; download and shrink it first")
    return data


def _get(url: str) -> Any:
    from urllib.request import urlopen  # which brings ssl and an HTTP client

    try:
        return urlopen(url, timeout=PATIENCE)
    except Exception as error:
        raise _unreachable(url, error) from error


def _unreachable(url: str, error: Exception) -> PictureError:
    inner = getattr(error, "reason", None)  # what urllib wraps
    why = reason(inner if isinstance(inner, Exception) else error).rstrip(".")
    return PictureError(f"{url} cannot be downloaded ({why}); check the address and the connection")


def read_list(file: BufferedIOBase, *, null: bool = False) -> Iterator[str]:
    """The names in a list, one per line or, with `null`, each ended by a NUL character (find -print0); read lazily.

    Blank lines and lines that begin with "#" are passed over, unless there is a file of that name. A list is in the
    file system's encoding, or in UTF-8 or UTF-16 with a byte order mark.
    """
    start = file.read(len(codecs.BOM_UTF8))
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding, errors = "utf-16", "replace"
    elif start == codecs.BOM_UTF8:
        encoding, errors = "utf-8-sig", "surrogateescape"
    else:
        encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    rest = decoder.decode(start)
    while chunk := file.read1(1 << 16):
        *names, rest = (rest + decoder.decode(chunk)).split("\0" if null else "\n")
        yield from filter(None, map(partial(_entry, null=null), names))
    names = (rest + decoder.decode(b"", final=True)).split("\0" if null else "\n")
    yield from filter(None, map(partial(_entry, null=null), names))


def _entry(line: str, *, null: bool) -> str | None:
    """The name that a line of a list holds, or None."""
    if null:
        return line
    line = line.removesuffix("\r")
    nothing = not line.strip() or line.startswith("#")
    return None if nothing and not os.path.lexists(line) else line


def expand_sources(
    inputs: Iterable[str],
    *,
    videos: bool = True,
    skip: str | Path | None = None,
    null: bool = False,
    stdin: BufferedIOBase | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> Iterator[str]:
    """The pictures and `videos` that `inputs` name, each once, lazily and in a fixed order.

    - a file or a URL: itself, whatever its suffix
    - a folder: its pictures and videos, then those of its subfolders, each sorted by name; by suffix, and files without
      one by their content; hidden files and folders, links to folders and the folder `skip` (where results go) are
      passed over
    - a pattern with `*`, `?`, `[...]` or `**` (quoted, so that the shell leaves it alone): what it matches, sorted
      folder by folder; hidden names only where the pattern names the dot
    - `-`: one of the above per line of standard input (`stdin`, default the process's own), see `read_list` for `null`
    - anything else, also a pattern without a match: itself, so that reading it gives the error

    A file is known again by its absolute path. Files named again, a folder without pictures, and an empty list are a
    `warn`ing of one sentence.
    """
    expansion = _Expansion(videos, skip, warn)
    seen = _Seen()
    repeated = 0
    for name in inputs:
        if name != "-":
            found = expansion.expand(name)
        else:
            listed = cast("BufferedIOBase", sys.stdin.buffer) if stdin is None else stdin
            found = expansion.expand_list(read_list(listed, null=null))
        for source in found:
            if seen.add(source):
                yield source
            else:
                repeated += 1
    if repeated:
        warn(f"what is named more than once is done once: left out {counted(repeated, 'repetition')}")


class _Expansion:
    """What one name or pattern means; see `expand_sources`."""

    def __init__(self, videos: bool, skip: str | Path | None, warn: Callable[[str], None]):
        self.kinds = ("picture", "video") if videos else ("picture",)
        self.skip = None if skip is None else os.path.realpath(skip)
        self.warn = warn
        self.packed = False  # whether the folder at hand has files that only an archive reads

    def expand_list(self, names: Iterable[str]) -> Iterator[str]:
        empty = True
        for name in names:
            empty = False
            yield from self.expand(name)
        if empty:
            self.warn("standard input named no picture")

    def expand(self, name: str) -> Iterator[str]:
        # A name that exists is taken literally: "photo[1].jpg" is a file more often than a pattern.
        if os.path.isdir(name):
            yield from self._folder(name)
        elif os.path.lexists(name) or not is_pattern(name) or is_uri(name):
            yield name
        else:
            recursive = "**" in Path(name).parts
            found = False
            parts = [part for part in Path(name).parts if part != Path(name).anchor]
            ends = [part != "**" or after != "**" for part, after in pairwise([*parts, ""])]  # "**/**" is "**"
            for match in self._match(Path(name).anchor, list(compress(parts, ends))):
                if not os.path.isdir(match):
                    found = True
                    yield match
                elif not recursive and os.path.realpath(match) != self.skip:  # "**" also matches what is in the folder
                    found = True
                    yield from self._folder(match)
            if not found:
                yield name

    def _folder(self, folder: str) -> Iterator[str]:
        empty, self.packed = True, False
        for source in self._in_folder(folder):
            empty = False
            yield source
        if empty:
            what = " or ".join(f"{kind}s" for kind in self.kinds)
            packed = f"; its tar and Parquet files are read by {_ARCHIVE}" if self.packed else ""
            self.warn(f"no {what} in the folder {folder}{packed}")

    def _in_folder(self, folder: str) -> Iterator[str]:
        try:
            files, folders = _list(folder)
        except OSError:
            yield folder  # reading it gives the error, and the other inputs go on
            return
        for name in files:
            if not name.startswith(".") and kind_in_folder(path := os.path.join(folder, name)) in self.kinds:
                yield path
            self.packed |= kind_of_suffix(name) in ("table", "tar")
        for path in self._subfolders(folder, folders):
            yield from self._in_folder(path)

    def _subfolders(self, folder: str, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            path = os.path.join(folder, name)
            if not name.startswith(".") and not os.path.islink(path) and os.path.realpath(path) != self.skip:
                yield path

    def _match(self, folder: str, parts: list[str]) -> Iterator[str]:
        """Paths below `folder` ("" is the current one) that match the pattern's `parts`, in sorted order."""
        part, rest = parts[0], parts[1:]
        if part != "**" and not is_pattern(part):
            path = os.path.join(folder, part)
            if rest:
                yield from self._match(path, rest)
            elif os.path.lexists(path):
                yield path
            return
        if part == "**":
            if not rest:
                yield from self._in_folder(folder or os.curdir)
                return
            yield from self._match(folder, rest)
        try:
            files, folders = _list(folder or os.curdir)
        except OSError:  # a pattern reaches only into what can be read, as in a shell
            return
        if part == "**":
            for path in self._subfolders(folder, folders):
                yield from self._match(path, parts)
            return
        for name in folders if rest else sorted(files + folders):
            if fnmatch.fnmatchcase(name, part) and (part.startswith(".") or not name.startswith(".")):
                path = os.path.join(folder, name)
                yield from self._match(path, rest) if rest else (path,)


class _Seen:
    """Which files were named before. A name takes 8 bytes, so that there may be millions."""

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._sorted = np.empty(0, np.uint64)

    def add(self, name: str) -> bool:
        """Take a name; whether it is new."""
        digest = hashlib.blake2b(_absolute(name).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        key = int.from_bytes(digest)
        place = int(np.searchsorted(self._sorted, np.uint64(key)))
        if key in self._recent or (place < len(self._sorted) and int(self._sorted[place]) == key):
            return False
        self._recent.add(key)
        if len(self._recent) == _RECENT:
            self._sorted = np.union1d(self._sorted, np.fromiter(self._recent, np.uint64))
            self._recent = set()
        return True


def _absolute(name: str) -> str:
    """The same for every spelling of a path; links count as files of their own."""
    if is_uri(name):
        return name
    folder, last = os.path.split(name)
    try:
        # Behind a link to a folder, ".." is not the folder that the name was taken from.
        folder = os.path.realpath(folder) if os.pardir in folder.split(os.sep) else os.path.abspath(folder)
    except ValueError:  # a NUL character
        return name
    return os.path.join(folder, last)


def _head(name: str) -> bytes:
    """The first bytes of a file; none of what is no regular file (a pipe would lose them) or cannot be read."""
    try:
        if os.path.isfile(name):
            with open(name, "rb") as file:
                return file.read(_HEAD)
    except (OSError, ValueError):
        pass
    return b""


def _signature(head: bytes) -> Kind | None:
    return next((kind for kind, pattern in _SIGNATURES if pattern.match(head)), None)


def _list(folder: str) -> tuple[list[str], list[str]]:
    """Names of the files and of the folders in `folder`, each sorted."""
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            (folders if entry.is_dir() else files).append(entry.name)
    return sorted(files), sorted(folders)


def is_pattern(name: str) -> bool:
    """Whether `name` holds one of the signs of a pattern; one that exists is still taken literally."""
    return any(sign in name for sign in "*?[")
