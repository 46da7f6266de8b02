"""The JSON of answers, for OpenAPI: what is sent is made by `Recognition.to_dict`, not by these."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

Point = tuple[float, float]
Map = list[list[float]]
Mask = list[list[int]]


class Face(BaseModel):
    """A face; coordinates are pixels of the upright picture."""

    model_config = ConfigDict(extra="forbid")

    box: tuple[float, float, float, float]
    landmarks: list[Point] | None
    detection_score: float | None
    expression: str | None
    probability: float
    probabilities: dict[str, float]


class Result(BaseModel):
    """What was found in a picture, or why it could not be used; one line of `apvit recognize --format jsonl`."""

    model_config = ConfigDict(extra="forbid")

    source: str
    width: int | None
    height: int | None
    faces: list[Face]
    error: str | None
    warning: str | None


class Explanation(BaseModel):
    """Why: maps over the patches of the aligned face, row by row; see `apvit.explain.explanation.Explanation`."""

    face: str
    expression: str | None
    probabilities: dict[str, float]
    grid: int
    corners: list[list[Point]]
    patch_scores: Map
    kept: Mask
    alive: list[Mask]
    attention: list[Map]
    relevance: dict[str, Map]


class ExplainedFace(Face):
    """A face with its explanation."""

    explanation: Explanation


class ExplainedResult(Result):
    """A result whose faces are explained."""

    faces: list[ExplainedFace]  # type: ignore[assignment]


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

    results: list[Result]
    milliseconds: Recognising
    batch_pictures: int


class Explained(BaseModel):
    """The same, explained."""

    results: list[ExplainedResult]
    milliseconds: Explaining
    batch_pictures: int


class Pooling(BaseModel):
    """What the weights keep, where a request turns no dial: counts, rates, or null for all."""

    grid: int
    patch_keep: float | None
    token_keep: list[float] | None


class Input(BaseModel):
    """What the network sees of a face."""

    size: int
    colour: str


class Model(BaseModel):
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


class Allowed(BaseModel):
    """The limits of this service."""

    body_bytes: int
    held_bytes: int
    pixels: int
    pictures: int
    faces: int
    waiting: int
    body_seconds: float
    request_seconds: float


class Models(BaseModel):
    """What this service runs, and what it lets a request ask for."""

    models: list[Model]
    limits: Allowed


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
    results: list[ExplainedResult] | list[Result] | None = None
