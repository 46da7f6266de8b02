"""What goes wrong with a video, in one sentence."""

from __future__ import annotations


class VideoError(ValueError):
    """A video, or a table of one, cannot be used as asked; the message names it and says what to do."""


class StoppedError(VideoError):
    """A video or stream ended before its end; what came before it was good."""
