"""Probabilities over time: what flickers from frame to frame is smoothed, track by track."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

DEFAULT_WINDOW = 0.5
"""Seconds; a change of expression takes about as long on a face."""

_DECIMALS = 6  # what tables hold, so that a run resumed from one goes on as it would have


class Smoother:
    """An exponential average of each track's probabilities, in real time: s ← s + (1 − exp(−Δt / window)) · (p − s).

    Δt is the time since the track was last seen, in seconds, so uneven and left-out frames weigh what they should, and
    a gap fades what was before it. A track starts with what is first seen of it (s = p). The average looks only
    back, so that a stream and a file give the same numbers; it follows a sudden change by 63 % within one `window`
    (seconds; 0: no smoothing).
    """

    def __init__(self, window: float = DEFAULT_WINDOW) -> None:
        if not 0 <= window < math.inf:
            raise ValueError(f"the smoothing window must be a number of seconds from 0, not {window}")
        self.window = window
        self._tracks: dict[int, tuple[float, dict[str, float]]] = {}

    def step(self, track: int, time: float, probabilities: Mapping[str, float]) -> dict[str, float]:
        """The smoothed probabilities of `track` at `time` (seconds), where the frame's own are `probabilities`."""
        smoothed = dict(probabilities)
        if track in self._tracks and self.window > 0:
            before, last = self._tracks[track]
            weight = -math.expm1((before - time) / self.window)
            smoothed = {name: last[name] + weight * (p - last[name]) for name, p in probabilities.items()}
        smoothed = {name: round(p, _DECIMALS) for name, p in smoothed.items()}
        self.restore(track, time, smoothed)
        return smoothed

    def restore(self, track: int, time: float, smoothed: Mapping[str, float]) -> None:
        """Take what an earlier run's `step` gave."""
        self._tracks[track] = (time, dict(smoothed))

    def keep(self, tracks: Collection[int]) -> None:
        """Forget all tracks but these, so that a stream of days stays small."""
        self._tracks = {track: state for track, state in self._tracks.items() if track in tracks}
