"""The pictures of a request, read from its multipart body as it arrives, into memory and nowhere else.

Starlette's own form parser spools a part of more than 1 MB to a temporary file; this one never touches a disk, and
stops at the first byte too many.
"""

from __future__ import annotations

import asyncio
import logging

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from .limits import Share, body_too_large, body_too_slow, too_many_pictures
from .messages import Upload
from .problems import Problem
from .settings import Limits

FIELD = "picture"
"""The name of a part that holds a picture; it may stand several times."""

# It warns of every malformed body, with bytes of it.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


async def read_uploads(request: Request, limits: Limits, share: Share) -> list[Upload]:
    """The pictures of a request, in order; at least one.

    Raises Problem: 400 for a malformed body, 408, 413, 415, 422 for a form that is not made of pictures, 503 (see
    `Share.take`); and ClientDisconnect where the client goes away.
    """
    form = _Form(request.headers.get("content-type"), limits.pictures)
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.body_bytes:
        raise body_too_large(limits.body_bytes)
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                if share.size + len(chunk) > limits.body_bytes:
                    raise body_too_large(limits.body_bytes)
                share.take(len(chunk))
                form.write(chunk)
    except TimeoutError:
        raise body_too_slow(limits.body_seconds) from None
    return form.uploads()


class _Form:
    """A multipart form whose parts are pictures, parsed as it arrives."""

    def __init__(self, content_type: str | None, pictures: int) -> None:
        kind, parameters = parse_options_header(content_type)
        if kind != b"multipart/form-data":
            raise Problem(415, "not-a-form", f"pictures come as multipart/form-data, in parts named {FIELD!r}")
        self._pictures = pictures
        self._uploads: list[Upload] = []
        self._complete = False
        self._header, self._value, self._disposition, self._name = b"", b"", b"", ""
        self._data = bytearray()
        if not (boundary := parameters.get(b"boundary")):
            raise _malformed("its content type names no boundary")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._add_to_header,
                    "on_header_value": self._add_to_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end,
                    "on_end": self._finish,
                },
            )
        except FormParserError as error:
            raise _malformed(str(error)) from None

    def write(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _malformed(str(error)) from None

    def uploads(self) -> list[Upload]:
        """The pictures, at the end of the body."""
        if not self._complete:
            raise _malformed("it ends before its last boundary")
        if not self._uploads:
            raise Problem(422, "no-picture", f"the form has no part named {FIELD!r}; put every picture in one")
        return self._uploads

    def _begin(self) -> None:
        if len(self._uploads) == self._pictures:
            raise too_many_pictures(self._pictures)
        self._disposition, self._data = b"", bytearray()

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _end_headers(self) -> None:
        _, parameters = parse_options_header(self._disposition)
        if parameters.get(b"name") != FIELD.encode():
            raise Problem(422, "unknown-part", f"every part of the form must be named {FIELD!r} and hold a picture")
        name = parameters.get(b"filename", b"").decode("utf-8", "replace")
        self._name = name or f"{FIELD} {len(self._uploads) + 1}"

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def _end(self) -> None:
        self._uploads.append(Upload(self._name, bytes(self._data)))
        self._data = bytearray()

    def _finish(self) -> None:
        self._complete = True


def _malformed(reason: str) -> Problem:
    return Problem(400, "malformed-form", f"the multipart body is malformed: {reason}")
