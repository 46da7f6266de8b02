"""Reading ahead: a thread decodes while the network works."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """The items of an iterator, taken by a thread of their own, at most `depth` of them waiting.

    With `drop`, the oldest waiting item gives way to a new one (`dropped` counts them), so that who comes late to
    a stream sees what happens now; without, the thread waits.
    """

    def __init__(self, items: Iterator[T], depth: int, *, drop: bool = False) -> None:
        self.dropped = 0
        self._items, self._depth, self._drop = items, depth, drop
        self._waiting: deque[T] = deque()
        self._changed = threading.Condition()
        self._over = self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, name="apvit video", daemon=True)
        self._thread.start()

    def take(self, count: int) -> list[T]:
        """Up to `count` items: all of them while there are more to come, or with `drop` what is there (at least one).

        Empty at the end; an error of the iterator is raised there.
        """
        enough = 1 if self._drop else min(count, self._depth)
        with self._changed:
            while len(self._waiting) < enough and not self._over:
                self._changed.wait()
            taken = [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]
            self._changed.notify_all()
        if not taken and self._error is not None:
            raise self._error
        return taken

    def close(self, patience: float) -> None:
        """Tell the thread to stop, and wait at most `patience` seconds until it has let go of what it reads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(patience)

    def _read(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    while len(self._waiting) >= self._depth and not self._drop and not self._closed:
                        self._changed.wait()
                    if self._closed:
                        return
                    if len(self._waiting) >= self._depth:
                        self._waiting.popleft()
                        self.dropped += 1
                    self._waiting.append(item)
                    self._changed.notify_all()
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()
