"""What lives as long as the service: settings, metrics, the memory of uploads, the worker and those who wait for it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

from starlette.requests import Request

from .batching import Batcher, Job
from .keys import KeyRing
from .limits import Memory
from .messages import Asked
from .metrics import Metrics
from .problems import retry_later
from .settings import Settings
from .worker import Worker


class Service:
    """A running service, as an asynchronous context: entering loads the network, leaving answers what was accepted.

    Entering raises WorkerError where the network cannot be loaded.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.memory = Memory(settings.limits.held_bytes)
        self.metrics.held_bytes.set_function(lambda: self.memory.held)
        self.keys = KeyRing(settings.api_keys)
        self.worker = Worker(settings.network, settings.limits)
        self.batcher = Batcher(self.worker, settings, self.metrics)

    async def __aenter__(self) -> Service:
        await self.batcher.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.batcher.finish()

    async def answer(self, request: Request, asked: Asked) -> Job | None:
        """`asked`, answered by the worker; None where the client went away, and its job with it.

        Raises Problem: 429 where too many wait, 503 where it took too long, 500 where it costs workers their life.
        """
        job = self.batcher.submit(asked)
        gone = asyncio.create_task(_until_gone(request))
        first: set[asyncio.Future[Any]] = {job.answer, gone}
        seconds = self.settings.limits.request_seconds
        try:
            await asyncio.wait(first, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if job.answer.done():
                job.answer.result()
                return job
            if gone.done():
                return None
            raise retry_later(
                503,
                "too-slow",
                f"the answer was not there within {seconds:g} s; send fewer or smaller pictures, or try later",
                self.batcher.seconds_to_wait(),
            )
        finally:
            gone.cancel()
            job.answer.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
