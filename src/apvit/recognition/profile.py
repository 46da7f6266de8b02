"""Where the time of recognition goes: seconds of every stage, and what the slowest of them alone would allow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from apvit.files import counted

STAGES = ("sources", "read", "detect", "align", "classify", "results")
"""In the order a picture passes them: taking the next source, reading and decoding it, finding its faces, warping them
to the alignment template, the network, and what the caller does with a result before it asks for the next."""


class Profile:
    """Stage by stage the time that `Recognizer.many` or `recognitions` takes, when it is handed to them.

        profile = Profile()
        for source, faces in recognizer.many(paths, profile=profile): ...
        print(profile)

    Seconds of a stage are added over the threads that work in it, as the clock shows them: where threads share a core,
    they hold some waiting. Those of several runs add up. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self.lanes: dict[str, int] = dict.fromkeys(STAGES, 1)
        """How many threads may be in a stage at a time."""
        self.pictures = self.faces = 0
        self.elapsed = 0.0
        """Seconds from before the first source was taken to after the last result was."""
        self._lock = Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the block's time to the stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spend(name, time.perf_counter() - start)

    def spend(self, name: str, seconds: float) -> None:
        """Count so many seconds to the stage."""
        with self._lock:
            self.seconds[name] += seconds

    @property
    def slowest(self) -> str:
        """The stage that would take longest if it had its threads to itself."""
        return max(STAGES, key=self._alone)

    @property
    def faces_per_second(self) -> float:
        """Faces per second from end to end."""
        return self.faces / self.elapsed if self.elapsed else 0.0

    @property
    def reached(self) -> float:
        """The throughput from end to end as a fraction of what the slowest stage alone would allow, 0..1."""
        return min(1.0, self._alone(self.slowest) / self.elapsed) if self.elapsed else 0.0

    def _alone(self, stage: str) -> float:
        """Seconds that the stage would take with nothing to wait for."""
        return self.seconds[stage] / self.lanes[stage]

    def __str__(self) -> str:
        total = sum(self.seconds.values()) or 1.0
        lines = [f"{'stage':<10} {'seconds':>8} {'share':>6} {'threads':>8} {'ms/picture':>11} {'ms/face':>9}"]
        for name in STAGES:
            seconds = self.seconds[name]
            lines.append(
                f"{name:<10} {seconds:>8.2f} {seconds / total:>6.0%} {self.lanes[name]:>8} "
                f"{_each(seconds, self.pictures, 11)} {_each(seconds, self.faces, 9)}"
            )
        alone = self._alone(self.slowest)
        lines.append(
            f"{counted(self.pictures, 'picture')}, {counted(self.faces, 'face')} in {self.elapsed:.2f} s: "
            f"{self.faces_per_second:,.1f} faces/s, {self.pictures / (self.elapsed or 1.0):,.1f} pictures/s"
        )
        if alone:
            lines.append(
                f"{self.slowest} is the slowest stage and alone would allow {self.faces / alone:,.1f} faces/s, "
                f"{self.pictures / alone:,.1f} pictures/s; {self.reached:.2f} of that was reached"
            )
        return "\n".join(lines)


def _each(seconds: float, count: int, width: int) -> str:
    """Milliseconds per item, right-aligned; "-" where there is none."""
    return f"{seconds / count * 1000:.2f}".rjust(width) if count else "-".rjust(width)
