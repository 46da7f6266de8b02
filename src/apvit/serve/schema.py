"""The JSON of answers, for OpenAPI. What pictures, faces, explanations and limits hold is said by their own types."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from typing_extensions import TypedDict

from apvit.explain.record import ExplanationRecord
from apvit.recognition.results import FaceRecord, Record

from .settings import Limits


class ServedExplanation(ExplanationRecord):
    """An explanation, with the aligned face as a PNG data URL."""

    face: str


class ExplainedFace(FaceRecord):
    """A face with its explanation."""

    explanation: ServedExplanation


class ExplainedRecord(Record):
    """A record whose faces are explained."""

    faces: list[ExplainedFace]  # type: ignore[misc]


class Recognising(BaseModel):
    """Where the time went: waiting for the worker; four stages, of all pictures looked at together; all there is."""

    waiting: float
    decoding: float
    detecting: float
    aligning: float
    classifying: float
    total: float


class Explaining(BaseModel):
    """Where the time went: waiting for the worker; explaining, all pictures that were with it; all there is."""

    waiting: float
    explaining: float
    total: float


class Recognised(BaseModel):
    """The pictures of a request, in its order, and how many were looked at together."""

    results: list[Record]
    milliseconds: Recognising
    batch_pictures: int


class Explained(BaseModel):
    """The same, explained."""

    results: list[ExplainedRecord]
    milliseconds: Explaining
    batch_pictures: int


class Pooling(TypedDict):
    """What the weights keep, where a request turns no dial: counts, rates, or null for all."""

    grid: int
    patch_keep: float | None
    token_keep: list[float] | None


class Input(TypedDict):
    """What the network sees of a face."""

    size: int
    colour: str


class Model(TypedDict):
    """The weights that this service runs; see the card."""

    name: str
    architecture: str
    expressions: list[str]
    detector: str
    alignment: str | None
    input: Input
    pooling: Pooling
    metrics: list[dict[str, Any]]
    licence: str
    intended_use: str


class Models(BaseModel):
    """What this service runs, and what it lets a request ask for."""

    models: list[Model]
    limits: Limits


class State(BaseModel):
    """Whether the service is there."""

    status: str


class OptionError(BaseModel):
    """What is wrong with an option."""

    option: str
    reason: str


class ProblemDetails(BaseModel):
    """Why there is no answer (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[OptionError] | None = None
    results: list[ExplainedRecord] | list[Record] | None = None
