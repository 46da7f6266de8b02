"""Files written whole or not at all, their hashes, and what messages have in common. Everyone's: the bottom floor."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHORT_NAME = 143
"""Bytes of a file name that every common file system takes (eCryptfs has the lowest limit; most take 255)."""

_DESCRIPTOR = r"/dev/(?:(stdin|stdout|stderr)|fd/(\d+))|/proc/(?:self|thread-self|{pid})/fd/(\d+)"
_MOST_LINKS = 40


class OutputError(ValueError):
    """A file cannot be written where it was asked for."""


def check_output(path: str | Path) -> None:
    """Raises OutputError, before any work is done, where a file cannot be written under this name."""
    if str(path) == "":
        raise OutputError("the output has no name; name a file")
    if os.path.isdir(path):
        raise OutputError(f"the output {path} is a folder; name a file")
    folder = os.path.dirname(_follow(path)[0]) or os.curdir
    if not os.path.isdir(folder):
        raise OutputError(f"the folder {os.path.abspath(folder)} of the output does not exist; make it first")


def names_folder(path: str | Path) -> bool:
    """Whether an output is a folder: one that is there, or a name that ends in a slash."""
    return os.path.isdir(path) or str(path).endswith(("/", os.sep))


def is_special(path: str | Path) -> bool:
    """Whether `path` leads to a pipe, a device or an open descriptor, which are written to and never replaced."""
    name, descriptor = _follow(path)
    if descriptor is not None:
        return True
    try:
        mode = os.stat(name).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def extended(name: str, suffix: str, *, of: str | None = None) -> str:
    """The file name `name` + `suffix`, legal wherever the name `of` is (default: `name`).

    A name that gets too long for that is cut, and a hash of it takes the place of what is missing.
    """
    whole = os.fsencode(name)
    limit = max(SHORT_NAME, len(os.fsencode(name if of is None else of)))
    if len(whole) + len(suffix) <= limit:
        return name + suffix
    suffix = f"~{hashlib.sha256(whole).hexdigest()[:8]}{suffix}"
    return whole[: limit - len(suffix)].decode("utf-8", "ignore") + suffix  # no character is cut in two


def beside(path: str | Path, suffix: str) -> Path:
    """The file beside `path` (beside the target, where `path` is a link) whose name is `extended` by `suffix`."""
    path = Path(_follow(path)[0])
    return path.with_name(extended(path.name, suffix))


def partial_name(path: str | Path) -> Path:
    """Where `OutputFile` keeps the file `path` until it is complete, and what a run that ends early leaves behind."""
    return Path(path) if is_special(path) else beside(path, ".partial")


class OutputFile:
    """Bytes for the file `path`, or for standard output (None).

    A regular file is written as `partial_name(path)`, and `close` gives it its name, so that a run that ends early,
    even killed, leaves what it had beside an older `path`. A link stays, and its target is written; pipes, devices and
    descriptors (/dev/stdout, process substitution) are written as they are. Raises OSError.
    """

    def __init__(self, path: str | Path | None):
        self.path = None if path is None else Path(path)
        self._partial: Path | None = None
        if path is None:
            self.stream: BinaryIO = sys.stdout.buffer
        elif is_special(path):
            self.stream = _open_special(path)
        else:
            self._partial = partial_name(path)
            self.stream = self._partial.open("wb")

    def write(self, data: bytes) -> None:
        """Write and flush, so that a pipe sees it now and a killed run keeps it."""
        try:
            self.stream.write(data)
            self.stream.flush()
        except OSError as error:  # of a descriptor, so it names no file
            if self.path is not None:
                error.filename = os.fspath(self._partial or self.path)
            raise

    def close(self, *, whole: bool = True) -> None:
        """Give the file its name, unless the run that wrote it is not `whole`."""
        if self.path is None:
            return
        if not whole:
            with suppress(OSError):  # of a disk that was full already when `write` said so
                self.stream.close()
            return
        self.stream.flush()
        if self._partial is not None:
            os.fsync(self.stream.fileno())
        self.stream.close()
        if self._partial is not None:
            os.replace(self._partial, _follow(self.path)[0])


@contextmanager
def completing(path: str | Path, *, whole: bool = True) -> Iterator[Path]:
    """Gives the block a temporary name to write to. At its end the file becomes `path`; after an error it is removed.

    With `whole` false the file becomes `partial_name(path)`, beside an older `path`: what it
    shows ended early. Links, pipes and devices are treated as `OutputFile` treats them. Raises OSError.
    """
    if is_special(path):  # a writer may want to go back in its file, which a pipe cannot
        with TemporaryDirectory(prefix="apvit-") as folder:
            temporary = Path(folder, "output" + Path(path).suffix)
            yield temporary
            with temporary.open("rb") as file, _open_special(path) as through:
                shutil.copyfileobj(file, through)
        return
    target = Path(_follow(path)[0])
    # Two processes may write the same file, so each has a name of its own.
    temporary = target.with_name(f".apvit-{secrets.token_hex(8)}{target.suffix[:16]}")
    try:
        yield temporary
        with temporary.open("r+b") as file:  # after a power cut the new name must not lead to an empty file
            os.fsync(file.fileno())
        os.replace(temporary, target if whole else partial_name(target))
        if whole:
            partial_name(target).unlink(missing_ok=True)  # of an earlier run that ended early
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Write a file, text as UTF-8, whole or not at all, and the folder where it is missing. Raises OSError."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with completing(path) as temporary:
        temporary.write_bytes(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


def write_figure(path: str | Path, figure: Figure) -> None:
    """Write a figure as PNG, 150 dots an inch, as `write_whole` does. Raises OSError."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with completing(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's content in hexadecimal. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sentence(error: BaseException) -> str:
    """What an error says, in one line: the reason first, then the file that it is about."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: {os.fsdecode(error.filename)}"
    if isinstance(error, MemoryError):
        return "not enough memory"
    return " ".join(str(error).split()) or type(error).__name__


def reason(error: BaseException) -> str:
    """`sentence` without the file, for a message that names it itself."""
    return error.strerror if isinstance(error, OSError) and error.strerror else sentence(error)


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """The sentence for a name that is not among the known ones, with the nearest of them.

    >>> unknown("detector", "yunett", ("mtcnn", "yunet"))
    "unknown detector 'yunett' (did you mean 'yunet'?); known are mtcnn, yunet"
    """
    return f"unknown {what} {name!r}{did_you_mean(name, known)}; known are {', '.join(known)}"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """ " (did you mean 'yunet'?)" for a name that is nearly among the known ones, else nothing."""
    meant = nearest(str(name), known)
    return "" if meant is None else f" (did you mean {meant!r}?)"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` most likely means: one spelled much like it, or one that it abbreviates (lr)."""
    from difflib import get_close_matches

    folded = {each.casefold(): each for each in known}
    initials = {"".join(word[:1] for word in re.split("[_-]", each.lstrip("-"))): each for each in folded.values()}
    close = get_close_matches(name.casefold(), folded, n=1, cutoff=0.75)
    return initials.get(name.lstrip("-")) or (folded[close[0]] if close else None)


def counted(things: int | Sized, noun: str) -> str:
    """Their number and the noun: "1 picture", "1,200 pictures"."""
    number = len(things) if isinstance(things, Sized) else things
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _follow(path: str | Path) -> tuple[str, int | None]:
    """The name at the end of a chain of links, or else the open descriptor that it leads to."""
    name = os.fspath(path)
    for _ in range(_MOST_LINKS):
        if found := re.fullmatch(_DESCRIPTOR.format(pid=os.getpid()), os.path.abspath(name)):
            return name, ("stdin", "stdout", "stderr").index(found[1]) if found[1] else int(found[2] or found[3])
        if not os.path.islink(name):
            return name, None
        name = os.path.join(os.path.dirname(name), os.readlink(name))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))


def _open_special(path: str | Path) -> BinaryIO:
    name, descriptor = _follow(path)
    if descriptor is not None:
        sys.stdout.flush()  # what was printed before comes before
        return os.fdopen(os.dup(descriptor), "wb")
    return open(name, "wb")
