"""A real service for the tests: uvicorn on a free port of 127.0.0.1, the real worker, the bundled weights."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
from PIL import Image

from apvit.serve.running import create_server, listen
from apvit.serve.service import Service
from apvit.serve.settings import Limits, Settings

SMALL = Settings(
    limits=Limits(
        body_bytes=2_000_000,
        held_bytes=5_000_000,
        pixels=600_000,
        pictures=4,
        faces=2,
        waiting=3,
        body_seconds=1,
        request_seconds=20,
    ),
    batch_pictures=4,
    batch_milliseconds=100,
)
"""Limits that a test reaches without effort."""


@dataclass
class Served:
    """A service that runs, and a client of it."""

    url: str
    service: Service
    client: httpx.Client

    def post(self, *pictures: bytes | tuple[str, bytes], path: str = "/v1/recognize", **options: Any) -> Any:
        """Post pictures, with options as query."""
        named = [p if isinstance(p, tuple) else (f"{i}.png", p) for i, p in enumerate(pictures)]
        return self.client.post(path, params=options, files=[("picture", one) for one in named])

    def post_later(self, *pictures: bytes, **options: Any) -> Future[Any]:
        """The same, meanwhile."""
        return self.pool.submit(self.post, *pictures, **options)

    @property
    def pool(self) -> ThreadPoolExecutor:
        """Threads for clients at the same time."""
        if not hasattr(self, "_pool"):
            self._pool = ThreadPoolExecutor(32)
        return self._pool

    def metric(self, name: str, **labels: str) -> float:
        """A counter's value, 0 where it has not counted."""
        return self.service.metrics.registry.get_sample_value(name, labels) or 0.0

    @contextmanager
    def stopped_worker(self) -> Iterator[int]:
        """The worker hangs until the end of the block; gives its process number."""
        pid = self.service.worker.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            yield pid
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def serving(settings: Settings) -> Iterator[Served]:
    """A service on a free port; at the end it finishes what it accepted."""
    service = Service(settings)
    server = create_server(service)
    listener = listen("127.0.0.1", 0)
    failed: list[BaseException] = []

    async def serve() -> None:
        async with service:
            await server.serve(sockets=[listener])

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: server.started or bool(failed), 120)
    if failed:
        raise failed[0]
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    try:
        with httpx.Client(base_url=url, timeout=60, limits=limits, trust_env=False) as client:
            yield Served(url, service, client)
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive(), "the service does not end"


def until(reached: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def encoded(picture: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """The bytes of a picture file."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()
