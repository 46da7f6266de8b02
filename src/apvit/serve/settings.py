"""What a service is told when it starts; all defaults protect."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

from apvit.engines import Keep


class SettingsError(ValueError):
    """A service cannot be started as asked."""


@dataclass(frozen=True)
class Network:
    """What the worker loads; see `apvit.Recognizer` for the fields. `keep`: where a request says nothing."""

    weights: str = "apvit_tiny"
    detector: str = "mtcnn"
    detector_model: Path | None = None
    engine: str = "auto"
    device: str = "auto"
    keep: str | None = None

    def __post_init__(self) -> None:
        if self.keep is not None:
            Keep.parse(self.keep)


@dataclass(frozen=True)
class Limits:
    """What a request may ask for. Everything beyond is refused, the whole request or the one picture.

    body_bytes: of a request, counted as they arrive
    held_bytes: of all uploads that are in memory at the same time
    pixels: width x height of a picture, from its header, before it is decoded
    pictures: in a request
    faces: in a picture, unless the request asks for the largest `max_faces` of them
    waiting: requests that wait for the worker
    body_seconds: from the head of a request to the end of its body
    request_seconds: from the end of the body to the answer
    """

    body_bytes: int = 20_000_000
    held_bytes: int = 400_000_000
    pixels: int = 25_000_000
    pictures: int = 16
    faces: int = 100
    waiting: int = 64
    body_seconds: float = 30.0
    request_seconds: float = 30.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < math.inf:
                raise SettingsError(f"the limit {field.name} must be a positive number, got {value}")


@dataclass(frozen=True)
class Settings:
    """A service.

    batch_pictures: pictures that go to the worker together, at least one request's
    batch_milliseconds: how long the first request waits for others to go with it
    api_keys: what a caller must show one of; empty: anybody may ask
    """

    network: Network = Network()
    limits: Limits = Limits()
    batch_pictures: int = 16
    batch_milliseconds: float = 5.0
    api_keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.batch_pictures < 1:
            raise SettingsError(f"batch_pictures must be at least 1, got {self.batch_pictures}")
        if not 0 <= self.batch_milliseconds <= 1000:
            raise SettingsError(f"batch_milliseconds must lie in 0..1000, got {self.batch_milliseconds}")
