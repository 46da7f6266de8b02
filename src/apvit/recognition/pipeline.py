"""Many pictures worked on at a time: read, searched, framed and classified in threads, results in order.

A picture is prepared (read, its faces found and framed) by one worker; the faces of a window of pictures then go
through the network together. The caller's thread takes the sources and hands the work out, so that sources need not
care about threads. What shares a batch depends on the sources alone, never on how fast anything was: the same list
gives the same numbers whatever the number of workers.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain, pairwise
from math import ceil
from threading import Barrier
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from apvit.recognition.profile import Profile
from apvit.recognition.results import Recognition

Picture: TypeAlias = npt.NDArray[np.uint8]
FaceOutput: TypeAlias = tuple[Any, Any, Any]
"""What the network says of a face: probabilities [K], ids of the kept patches, embedding [D]."""

WINDOW_PIXELS = 32_000_000
"""A window of so many pixels (3 bytes each) closes: three pictures of a telephone's, or one huge one."""
FLIGHT_PIXELS = 3 * WINDOW_PIXELS
"""Pixels held at a time, in windows and around them: while one is classified the next is read."""
QUEUED = 2
"""Pictures per worker that are begun or next in line: enough that none waits for the caller's thread."""


@dataclass(frozen=True)
class Prepared:
    """A picture that was read: its recognition still without faces; each detection with its crop uint8 [S, S, 3]."""

    recognition: Recognition
    framed: Sequence[tuple[Any, Picture]]

    @property
    def crops(self) -> list[Picture]:
        """What goes through the network, in order."""
        return [crop for _, crop in self.framed]

    @property
    def pixels(self) -> int:
        """Width times height; 0 for a picture that could not be read."""
        return (self.recognition.width or 0) * (self.recognition.height or 0)


@dataclass(frozen=True)
class _Window:
    """Pictures whose faces are in the network, in one or more passes."""

    pictures: deque[Prepared]
    passes: list[Future[list[FaceOutput]]]

    def is_done(self) -> bool:
        return all(one.done() for one in self.passes)


class Pipeline:
    """Runs once. `prepare` never raises for a bad picture; `finish` joins a picture and the outputs of its faces.

    workers: threads, all of them in `prepare` and `classify`; with one, everything happens in the caller's
    batch_size: the most faces in one call of `classify`
    """

    def __init__(
        self,
        prepare: Callable[[Any], Prepared],
        classify: Callable[[Sequence[Picture]], list[FaceOutput]],
        finish: Callable[[Prepared, Sequence[FaceOutput]], Recognition],
        *,
        workers: int,
        batch_size: int,
        profile: Profile,
    ):
        self._prepare, self._classify, self._finish = prepare, classify, finish
        self._workers, self._batch_size, self._profile = workers, batch_size, profile
        self._pool: ThreadPoolExecutor | None = None
        self._preparing: deque[Future[Prepared]] = deque()
        self._window: deque[Prepared] = deque()
        self._window_size = 1  # windows grow from one, so that the first result comes soon
        self._classifying: deque[_Window] = deque()
        self._failure: Exception | None = None  # raised once all that came before it has been given
        self._taken = 0
        self._ended = False

    def run(self, sources: Iterable[Any]) -> Iterator[Recognition]:
        """The recognition of each source, in order. What `sources` or a stage raises comes after all before it."""
        iterator = iter(sources)
        start = time.perf_counter()
        try:
            while not self._is_over():
                self._collect()
                if self._classifying and self._classifying[0].is_done():
                    yield from self._emit(iterator)
                elif not self._ended and self._has_room():
                    self._take(iterator)
                else:
                    self._rest()
            if self._failure is not None:
                raise self._failure
        finally:
            self._profile.elapsed += time.perf_counter() - start
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)

    def _is_over(self) -> bool:
        return self._ended and not (self._preparing or self._window or self._classifying)

    def _emit(self, iterator: Iterator[Any]) -> Iterator[Recognition]:
        """The results of the oldest window."""
        window = self._classifying[0]
        outputs = chain.from_iterable(one.result() for one in window.passes)
        while window.pictures:
            prepared = window.pictures.popleft()
            found = self._finish(prepared, [next(outputs) for _ in prepared.framed])
            self._profile.pictures += 1
            self._profile.faces += len(found.faces)
            del prepared  # the caller decides how long the picture stays
            with self._profile.stage("results"):
                yield found
            del found
            # A caller that takes its time should not leave the workers idle; one source for every result, since the
            # next result is ready and the source may be slow.
            self._collect()
            if self._pool is not None and not self._ended and self._has_room():
                self._take(iterator)
        self._classifying.popleft()

    def _take(self, iterator: Iterator[Any]) -> None:
        """Have the next source prepared."""
        try:
            with self._profile.stage("sources"):
                source = next(iterator)
        except StopIteration:
            self._ended = True
            return
        except Exception as error:
            self._failure, self._ended = error, True
            return
        self._taken += 1
        if self._taken == 2 and self._workers > 1:  # for a single picture no thread is worth its start
            self._pool = start_workers(self._workers)
        self._preparing.append(self._submit(self._prepare, source))

    def _collect(self) -> None:
        """Move the pictures that are prepared, as far as they come next, to their window."""
        while self._preparing and self._preparing[0].done():
            try:
                self._window.append(self._preparing.popleft().result())
            except Exception as error:
                self._failure, self._ended = error, True
                for later in self._preparing:
                    later.cancel()
                self._preparing.clear()
                break
            faces = sum(len(prepared.framed) for prepared in self._window)
            pixels = sum(prepared.pixels for prepared in self._window)
            if max(len(self._window), faces) >= self._window_size or pixels >= WINDOW_PIXELS:
                self._close_window()
        if self._ended and self._window and not self._preparing:
            self._close_window()

    def _close_window(self) -> None:
        """Send the window's faces through the network, in passes of about equal size."""
        crops = [crop for prepared in self._window for crop in prepared.crops]
        count = ceil(len(crops) / self._batch_size)
        bounds = [len(crops) * i // count for i in range(count + 1)] if count else []
        passes = [self._submit(self._classify, crops[a:b]) for a, b in pairwise(bounds)]
        self._classifying.append(_Window(self._window, passes))
        self._window = deque()
        self._window_size = min(2 * self._window_size, self._largest_window)

    @property
    def _largest_window(self) -> int:
        return 2 * self._batch_size  # two passes, so that two workers share it

    def _has_room(self) -> bool:
        """Whether another picture may be begun: memory stays flat however long the list or slow the caller."""
        done = [one for one in self._preparing if one.done()]
        held = [one.result() for one in done if one.exception() is None]
        held += chain(self._window, *(window.pictures for window in self._classifying))
        return (
            len(self._preparing) - len(done) < QUEUED * self._workers
            and len(held) < 2 * self._largest_window
            and sum(prepared.pixels for prepared in held) < FLIGHT_PIXELS
        )

    def _rest(self) -> None:
        """Until something that was handed out is done."""
        waited: list[Future[Any]] = []
        if self._classifying:
            waited = [one for one in self._classifying[0].passes if not one.done()][:1]
            if not waited:
                return
        wait([*waited, *list(self._preparing)[:1]], return_when=FIRST_COMPLETED)

    def _submit(self, function: Callable[[Any], Any], argument: Any) -> Future[Any]:
        if self._pool is not None:
            return self._pool.submit(function, argument)
        done: Future[Any] = Future()
        try:
            done.set_result(function(argument))
        except Exception as error:
            done.set_exception(error)
        return done


def start_workers(workers: int) -> ThreadPoolExecutor:
    """Threads in which torch, if it is there, uses its share of the cores: a core each is worth more than all for one.

    torch's number of threads is a thread's own, but also becomes that of threads which have not asked yet; so the
    caller's is set again, once all have theirs.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="apvit")
    torch = sys.modules.get("torch")
    if torch is not None:
        threads = torch.get_num_threads()
        all_there = Barrier(workers)

        def settle() -> None:
            torch.get_num_threads()  # which makes the number the thread's own
            torch.set_num_threads(max(1, threads // workers))
            all_there.wait()

        wait([pool.submit(settle) for _ in range(workers)])
        torch.set_num_threads(threads)
    return pool
