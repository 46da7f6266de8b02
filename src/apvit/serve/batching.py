"""Requests wait here until the worker takes them, several together; and here a lost worker is made good."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from typing import Any

from apvit.files import counted

from .messages import Asked
from .metrics import Metrics
from .problems import Problem, retry_later
from .settings import Settings
from .worker import Worker, WorkerError, WorkerLostError

logger = logging.getLogger("apvit.serve")

LONGEST_PAUSE = 30.0
"""Seconds between attempts to start a worker that does not come up."""


class Job:
    """One request on its way through the worker."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.arrived = time.monotonic()
        self.waited = 0.0
        self.suspect = False  # was with a worker when that was lost

    @property
    def pictures(self) -> int:
        """How many pictures it has."""
        return len(self.asked.uploads)


class Batcher:
    """Gathers requests by count and by time, hands them to the worker, and gives each its own answer.

    When the worker is lost, what it had goes to the next one, each request alone: one that loses a second worker is
    refused as the culprit, and the others are answered.
    """

    def __init__(self, worker: Worker, settings: Settings, metrics: Metrics) -> None:
        self._worker, self._settings, self._metrics = worker, settings, metrics
        self._jobs: deque[Job] = deque()
        self._more = asyncio.Event()
        self._seconds_per_picture = 0.1  # a first guess
        self._working = 0  # pictures that are with the worker
        self._closing = False
        self.ready = False
        self.model: dict[str, Any] = {}

    async def start(self) -> None:
        """Start the worker. Raises WorkerError where it cannot load the network."""
        self.model = await self._worker.start()
        self._set_ready(True)
        self._gone = asyncio.create_task(self._worker.watch())
        self._loop = asyncio.create_task(self._run())

    async def finish(self) -> None:
        """Answer what was accepted, then stop the worker."""
        self._closing = True
        self._more.set()
        await self._loop
        self._gone.cancel()
        self._set_ready(False)
        await self._worker.stop()

    def check_room(self) -> None:
        """Raise Problem (429) where no more may wait."""
        waiting, limit = self._count_waiting(), self._settings.limits.waiting
        if waiting >= limit:
            detail = f"the queue is full, with {counted(waiting, 'request')} waiting; try again later"
            raise retry_later(429, "queue-full", detail, self.seconds_to_wait())

    def seconds_to_wait(self) -> int:
        """About how long until those who wait now are answered, at least 1."""
        pictures = self._working + sum(job.pictures for job in self._jobs)
        return min(60, max(1, math.ceil(pictures * self._seconds_per_picture)))

    def submit(self, asked: Asked) -> Job:
        """Queue a request; its `answer` comes later. Raises Problem (429); see `check_room`."""
        self.check_room()
        job = Job(asked)
        self._jobs.append(job)
        self._more.set()
        self._count_waiting()
        return job

    def _count_waiting(self) -> int:
        """How many wait; those that their clients gave up do not."""
        waiting = sum(not job.answer.done() for job in self._jobs)
        self._metrics.waiting.set(waiting)
        return waiting

    async def _run(self) -> None:
        while True:
            batch = await self._gather()
            if batch:
                await self._answer(batch)
            elif self._closing:
                return
            elif self._gone.done():
                await self._mend("it ended while it had nothing to do")

    async def _gather(self) -> list[Job]:
        """The next batch; empty where the worker is gone, or at the end."""
        self._drop_abandoned()
        if not self._jobs:
            if self._closing or self._gone.done():
                return []
            self._more.clear()
            more = asyncio.create_task(self._more.wait())
            first: set[asyncio.Future[Any]] = {more, self._gone}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            more.cancel()
            return []
        ends = self._jobs[0].arrived + self._settings.batch_milliseconds / 1000
        while not self._is_full() and not self._closing and (left := ends - time.monotonic()) > 0:
            self._more.clear()
            try:
                async with asyncio.timeout(left):
                    await self._more.wait()
            except TimeoutError:
                break
        return self._take()

    def _drop_abandoned(self) -> None:
        self._jobs = deque(job for job in self._jobs if not job.answer.done())

    def _is_full(self) -> bool:
        return self._jobs[0].suspect or sum(job.pictures for job in self._jobs) >= self._settings.batch_pictures

    def _take(self) -> list[Job]:
        """The first jobs, as many as go together; a suspect goes alone."""
        self._drop_abandoned()
        batch: list[Job] = []
        room = self._settings.batch_pictures
        while self._jobs and (not batch or (self._jobs[0].pictures <= room and not self._jobs[0].suspect)):
            job = self._jobs.popleft()
            batch.append(job)
            room -= job.pictures
            if job.suspect:
                break
        self._count_waiting()
        return batch

    async def _answer(self, batch: list[Job]) -> None:
        start = time.monotonic()
        pictures = self._working = sum(job.pictures for job in batch)
        for job in batch:
            job.waited = start - job.arrived
        self._metrics.batch_requests.observe(len(batch))
        self._metrics.batch_pictures.observe(pictures)
        try:
            answers = await self._worker.ask([job.asked for job in batch], self._settings.limits.request_seconds)
        except WorkerLostError as loss:
            self._working = 0
            self._again(batch)
            await self._mend(str(loss))
            return
        self._working = 0
        seconds = time.monotonic() - start
        self._metrics.batch_seconds.observe(seconds)
        self._seconds_per_picture += 0.2 * (seconds / pictures - self._seconds_per_picture)
        for job, answer in zip(batch, answers, strict=True):
            if "failed" in answer:
                logger.error("request failed", extra={"fields": {"traceback": answer["failed"]}})
            if not job.answer.done():
                job.answer.set_result(answer)

    def _again(self, batch: list[Job]) -> None:
        """Those whose worker was lost come first, each alone; who was alone already has lost it."""
        for job in reversed(batch):
            if job.suspect and not job.answer.done():
                job.answer.set_exception(
                    Problem(500, "worker-lost", "the worker was lost over this request twice; send other pictures")
                )
            elif not job.answer.done():
                job.suspect = True
                self._jobs.appendleft(job)

    async def _mend(self, reason: str) -> None:
        """Start another worker, however often it takes; meanwhile requests wait as long as they may."""
        self._set_ready(False)
        self._metrics.worker_losses.inc()
        logger.error("worker lost", extra={"fields": {"reason": reason}})
        self._gone.cancel()
        pause = 0.5
        while True:
            try:
                self.model = await self._worker.start()
                break
            except WorkerError as error:
                logger.error("worker does not start", extra={"fields": {"reason": str(error), "again_in": pause}})
                if self._closing:
                    self._refuse_all()
                    return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        self._gone = asyncio.create_task(self._worker.watch())
        self._set_ready(True)
        logger.warning("worker started again", extra={"fields": {"pid": self._worker.pid}})

    def _refuse_all(self) -> None:
        for job in self._jobs:
            if not job.answer.done():
                job.answer.set_exception(
                    retry_later(503, "worker-lost", "the service ends and its worker does not start", 30)
                )

    def _set_ready(self, ready: bool) -> None:
        self.ready = ready
        self._metrics.worker_ready.set(ready)
