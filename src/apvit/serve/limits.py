"""What is refused, with the numbers; and the memory that uploads hold together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from apvit.files import counted

from .options import Options
from .problems import Problem, retry_later
from .settings import Settings

RETRY_MEMORY = 5
"""Seconds after which uploads in flight are mostly answered."""


class Memory:
    """The bytes of all uploads that the service holds at the same time."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """One request's part of it, given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.held -= share.size


class Share:
    """What one request holds."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.size = 0

    def take(self, size: int) -> None:
        """So many bytes more. Raises Problem (503) where all requests together would hold too many."""
        if self._memory.held + size > self._memory.limit:
            raise retry_later(
                503,
                "uploads-full",
                f"uploads hold {self._memory.held:,} of the {self._memory.limit:,} bytes allowed; try again later",
                RETRY_MEMORY,
            )
        self._memory.held += size
        self.size += size


def check_options(options: Options, settings: Settings) -> None:
    """Raise Problem (422) for options that this service does not offer."""
    limit, detector = settings.limits.faces, settings.network.detector
    if options.max_faces is not None and options.max_faces > limit:
        raise Problem(422, "options", f"max_faces is {options.max_faces}, but this service gives at most {limit}")
    if options.detector not in (None, "none", detector):
        raise Problem(422, "options", f"this service finds faces with {detector}; leave detector out, or say none")
    if "none" in (options.detector, detector if options.detector is None else None):
        for name in ("min_detection", "min_face"):
            if getattr(options, name) is not None:
                raise Problem(422, "options", f"the detector none searches for no faces; leave {name} out")


def body_too_large(limit: int) -> Problem:
    """A request of more bytes than allowed."""
    return Problem(413, "body-too-large", f"the request has more than {limit:,} bytes; send fewer or smaller pictures")


def too_many_pictures(limit: int) -> Problem:
    """A request of more pictures than allowed."""
    return Problem(
        413, "too-many-pictures", f"the request has more than {counted(limit, 'picture')}; send them in several"
    )


def body_too_slow(seconds: float) -> Problem:
    """A body that did not arrive in time; the connection ends, as who knows what is still to come."""
    detail = f"the request did not arrive within {seconds:g} s; send it faster, or smaller pictures"
    return Problem(408, "body-too-slow", detail, headers={"Connection": "close"})
