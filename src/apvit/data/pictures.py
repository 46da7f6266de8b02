"""Reading the faces that a listing names: the shipped bytes, the pixels of the face, and their identity."""

from __future__ import annotations

import hashlib
import io
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from apvit.data.errors import DataError
from apvit.data.listing import Listed, Listing
from apvit.data.sources import Source
from apvit.machine import core_count

Pixels = npt.NDArray[np.uint8]

MAX_PICTURE_BYTES = 1 << 28
"""No dataset's picture has more; a file that does is none."""

AS_SHIPPED = "as shipped"
CROPPED = "cropped to the given box"
"""Values of the column `framing`."""

_THREADS = min(8, core_count())
_RUN = 8
"""Faces that a thread works on at a time: handing over each tiny one would cost more than reading it."""
_T = TypeVar("_T")


class NoFaceError(DataError):
    """A picture is readable, but the face's box holds nothing of it."""


@dataclass(frozen=True, slots=True)
class ReadFace:
    """A face as it lies in the dataset."""

    listed: Listed
    shipped: bytes
    """The whole picture, encoded as the dataset ships it."""
    pixels: Pixels
    """The face, upright RGB [H, W, 3]: the whole picture, or what its box holds."""
    corner: tuple[int, int] | None
    """x, y of the face's first pixel in the picture; None where the picture was not cropped."""

    @property
    def framing(self) -> str:
        """How it was cut."""
        return AS_SHIPPED if self.corner is None else CROPPED

    @property
    def landmarks(self) -> tuple[float, ...] | None:
        """x, y of the five landmarks in pixels of the face: 10 numbers."""
        if self.listed.landmarks is None or self.corner is None:
            return self.listed.landmarks
        return tuple(value - self.corner[i % 2] for i, value in enumerate(self.listed.landmarks))

    def encode(self) -> bytes:
        """The face as a lossless picture."""
        buffer = io.BytesIO()
        # More effort saves a few percent of the disk and takes four times as long.
        Image.fromarray(self.pixels).save(buffer, "PNG", compress_level=2)
        return buffer.getvalue()


def read_shipped(source: Source, listing: Listing, picture: str) -> bytes:
    """A picture's bytes as the dataset ships them; DataError where it is missing or unreadable."""
    return source.read(picture, most=MAX_PICTURE_BYTES) if listing.read is None else listing.read(picture)


def decode(picture: bytes, name: str) -> Pixels:
    """The pixels of an encoded picture, upright RGB [H, W, 3]; DataError, naming it, where it is unreadable."""
    from apvit.faces.pictures import PictureError, read_picture

    try:
        return read_picture(picture, name=name)
    except PictureError as error:
        raise DataError(str(error)) from error


def read_face(source: Source, listing: Listing, listed: Listed) -> ReadFace:
    """One face of the listing.

    Raises DataError where its picture is missing, unreadable or not of the promised size, NoFaceError where its box
    lies outside.
    """
    shipped = read_shipped(source, listing, listed.picture)
    pixels = decode(shipped, listed.picture)
    height, width = pixels.shape[:2]
    if listing.size is not None and (width, height) != listing.size:
        raise DataError(f"{listed.picture} is {width}x{height} pixels instead of {'x'.join(map(str, listing.size))}")
    if listed.box is None:
        return ReadFace(listed, shipped, pixels, None)
    if not all(map(math.isfinite, listed.box)):
        raise NoFaceError(f"{listed.source} has a box that is not finite: {listed.box}")
    x1, y1, x2, y2 = (round(edge) for edge in listed.box)
    left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    if left >= right or top >= bottom:
        raise NoFaceError(
            f"{listed.source} has the box {x1}, {y1}, {x2}, {y2}, which holds nothing of {width}x{height} pixels"
        )
    return ReadFace(listed, shipped, pixels[top:bottom, left:right], (left, top))


def work_on_faces(
    source: Source, listing: Listing, faces: Sequence[Listed], work: Callable[[ReadFace], _T]
) -> Iterator[tuple[Listed, _T | DataError]]:
    """What `work` makes of every face, in order, or the error where the face cannot be read.

    Some faces are read ahead and worked on in threads: reading, decoding, encoding and hashing all release the
    interpreter's lock.
    """

    def attempt(listed: Listed) -> _T | DataError:
        try:
            return work(read_face(source, listing, listed))
        except DataError as error:
            return error

    def attempt_all(run: Sequence[Listed]) -> list[tuple[Listed, _T | DataError]]:
        return [(listed, attempt(listed)) for listed in run]

    with ThreadPoolExecutor(_THREADS) as pool:
        ahead: deque[Future[list[tuple[Listed, _T | DataError]]]] = deque()
        try:
            for start in range(0, len(faces), _RUN):
                ahead.append(pool.submit(attempt_all, faces[start : start + _RUN]))
                if len(ahead) > 2 * _THREADS:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def pixel_group(pixels: Pixels) -> str:
    """The identity of a picture, 32 hex digits: equal for equal pixels, however a file encodes them."""
    shape = ",".join(map(str, pixels.shape)).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(pixels).tobytes()).hexdigest()[:32]
