"""Connections that do not last for ever: uvicorn would wait for the end of any head, and read what nobody wants."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .problems import Problem
from .settings import Limits

HEAD_BYTES = 65_536
"""Request line and headers together."""

UNWANTED = 10
"""A body is read on after its refusal, up to so many times what is allowed: clients that send all before they read get
to see why, and nobody sends for ever."""


def guarded(limits: Limits) -> type[HttpToolsProtocol]:
    """uvicorn's protocol, with an end to heads (by bytes and by seconds) and to bodies that go on after a refusal."""

    class Guarded(HttpToolsProtocol):
        """One connection."""

        _head_ends: asyncio.TimerHandle | None = None
        _head_bytes = _unwanted_bytes = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._have_head()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._head_ends is not None:
                self._head_bytes += len(data)
            super().data_received(data)
            if self._head_ends is not None and self._head_bytes > HEAD_BYTES:
                self.transport.close()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._expect_head()

        def on_headers_complete(self) -> None:
            self._have_head()
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            super().on_body(body)
            if self.cycle.response_complete:
                self._unwanted_bytes += len(body)
                if self._unwanted_bytes > UNWANTED * limits.body_bytes:
                    self.transport.close()

        def send_400_response(self, msg: str) -> None:
            response = Problem(400, "no-http", "this is not a request in HTTP/1.1").response(uuid.uuid4().hex)
            headers = [b": ".join(one) for one in (*response.raw_headers, (b"connection", b"close"))]
            self.transport.write(b"\r\n".join([b"HTTP/1.1 400 Bad Request", *headers, b"", bytes(response.body)]))
            self.transport.close()

        def _expect_head(self) -> None:
            self._have_head()
            self._head_bytes = self._unwanted_bytes = 0
            self._head_ends = self.loop.call_later(limits.body_seconds, self.transport.close)

        def _have_head(self) -> None:
            if self._head_ends is not None:
                self._head_ends.cancel()
                self._head_ends = None

    return Guarded
