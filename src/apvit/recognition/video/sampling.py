"""Which frames of a video are looked at: every fifth, or one each fifth of a second."""

from __future__ import annotations

import math
from dataclasses import dataclass

from apvit.recognition.video.errors import VideoError


@dataclass(frozen=True)
class Every:
    """Every so many `frames`, or one frame per so many `seconds`; exactly one of the two is given."""

    frames: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str | int) -> Every:
        """ "5" (or 5) is every fifth frame, "0.2s" one frame per 0.2 seconds. Raises VideoError."""
        advice = f"every must be a number of frames (5) or of seconds (0.2s), above 0, not {text!r}"
        try:
            if isinstance(text, str) and text.strip().endswith("s"):
                seconds = float(text.strip()[:-1])
                if not 0 < seconds < math.inf:
                    raise VideoError(advice)
                return cls(seconds=seconds)
            frames = int(text)
        except ValueError:
            raise VideoError(advice) from None
        if frames < 1 or isinstance(text, bool):
            raise VideoError(advice)
        return cls(frames=frames)

    def takes(self, index: int, time: float, before: float | None) -> bool:
        """Whether the frame `index` at `time` is looked at, where the video's frame before it was at `before`."""
        if self.frames is not None:
            return index % self.frames == 0
        assert self.seconds is not None
        return before is None or slot(time, self.seconds) != slot(before, self.seconds)

    def __str__(self) -> str:
        return f"{self.frames}" if self.frames is not None else f"{self.seconds:g}s"


def slot(time: float, seconds: float) -> int:
    """Which of the stretches of so many `seconds` the `time` falls into; the first is 0."""
    return math.floor(time / seconds + 1e-6)  # 0.6 / 0.2 is a little less than 3
