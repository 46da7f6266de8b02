"""The process that recognises, seen from the service: started, asked, noticed when it is gone, started again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from .inference import work
from .messages import Asked, send
from .settings import Limits, Network

T = TypeVar("T")

START_SECONDS = 300.0
"""Until the network must be loaded; torch from a cold disk takes a minute."""

END_SECONDS = 5.0
"""Until an idle worker must have ended by itself."""


class WorkerError(ValueError):
    """The network cannot be loaded; the message is the worker's."""


class WorkerLostError(Exception):
    """The process died over a batch, or took too long for it and was killed."""


class Worker:
    """One process, which answers one batch at a time. A crash in it, or a kill, costs nothing but time."""

    def __init__(self, network: Network, limits: Limits) -> None:
        self._network, self._limits = network, limits
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        # All that blocks happens on this one thread, so that the event loop never does.
        self._thread = ThreadPoolExecutor(1, "worker")

    @property
    def pid(self) -> int | None:
        """The process's number, None before it is started and after it has ended."""
        return None if self._process is None else self._process.pid

    async def start(self) -> dict[str, Any]:
        """Start the process and wait until it has loaded the network; what it says of it. Raises WorkerError."""
        ready = await self._on_thread(self._start)
        if "error" in ready:
            await self._on_thread(self._end)
            raise WorkerError(ready["error"])
        return ready

    async def ask(self, batch: Sequence[Asked], seconds: float) -> list[dict[str, Any]]:
        """The answers to a batch (see `inference`). Raises WorkerLostError, after which `start` begins anew."""

        def ask() -> Any:
            assert self._connection is not None
            send(self._connection, batch)
            return self._receive(seconds)

        answers: list[dict[str, Any]] = await self._on_thread(self._or_lost, ask)
        return answers

    async def watch(self) -> None:
        """Wait until the process is gone."""
        assert self._process is not None
        gone = asyncio.Event()
        loop, sentinel = asyncio.get_running_loop(), self._process.sentinel
        loop.add_reader(sentinel, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(sentinel)

    async def stop(self) -> None:
        """End the process, after what it is doing."""
        await self._on_thread(self._end)
        self._thread.shutdown()

    async def _on_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _start(self) -> dict[str, Any]:
        self._end()
        # A fresh interpreter: a fork would share sockets, locks and threads with the service.
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, self._network, self._limits), daemon=True)
        self._process.start()
        theirs.close()  # so that the worker's end is the only one, and its death is the end of the connection
        try:
            ready: dict[str, Any] = self._or_lost(lambda: self._receive(START_SECONDS))
        except WorkerLostError as error:
            raise WorkerError(f"the worker did not start: {error}") from None
        return ready

    def _receive(self, seconds: float) -> Any:
        assert self._connection is not None
        if not self._connection.poll(seconds):
            raise TimeoutError
        return json.loads(self._connection.recv_bytes())

    def _or_lost(self, function: Callable[[], Any]) -> Any:
        try:
            return function()
        except TimeoutError:
            reason = "it took too long"
        except (EOFError, OSError):
            reason = "it ended"
        assert self._process is not None
        self._process.kill()
        self._process.join()
        raise WorkerLostError(f"{reason} (exit code {self._process.exitcode})")

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.close()  # which the worker takes as the end
            self._connection = None
        if self._process is not None:
            self._process.join(END_SECONDS)
            self._process.kill()
            self._process.join()
            self._process.close()
            self._process = None
