"""One video of an archive, from its first frame to its table; where it lies in a store, from a copy of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

from apvit.recognition.archive.locations import is_uri, locate
from apvit.recognition.sources import is_http
from apvit.recognition.video.errors import VideoError

if TYPE_CHECKING:
    from apvit.recognition.recognizer import Recognizer
    from apvit.recognition.video.results import VideoFrame
    from apvit.recognition.video.sampling import Every


def frames(recognizer: Recognizer, name: str, every: Every, smooth: float) -> Iterator[VideoFrame]:
    """The frames of the video `name`, a path or URI, with their tracked faces. Raises VideoError or OSError."""
    from apvit.recognition.video.clip import Clip
    from apvit.recognition.video.recognising import recognise

    with _file(name) as path:
        try:
            with Clip(path) as clip:
                for frame in recognise(recognizer, clip, every, smooth=smooth):
                    yield replace(frame, source=name, picture=None)
        except VideoError as error:
            raise VideoError(str(error).replace(path, name)) from error


@contextmanager
def _file(name: str) -> Iterator[str]:
    """A name that FFmpeg opens."""
    if not is_uri(name) or is_http(name):
        yield name
        return
    filesystem, path = locate(name)
    with NamedTemporaryFile(prefix="apvit-", suffix=os.path.splitext(path)[1]) as copy:
        with filesystem.open_input_stream(path, compression=None) as file:
            shutil.copyfileobj(file, copy)
        copy.flush()
        yield copy.name
