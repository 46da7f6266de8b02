"""An explanation as JSON. Apart from what makes it, which needs torch: a service describes it without."""

from __future__ import annotations

from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12


class ExplanationRecord(TypedDict):
    """Why: maps over the patches of the aligned face, row by row; see `apvit.explain.explanation.Explanation`."""

    expression: str | None
    min_probability: float
    probabilities: dict[str, float]
    grid: int
    face_size: int
    corners: list[list[list[float]]] | None
    patch_scores: list[list[float]]
    kept: list[list[int]]
    alive: list[list[list[int]]]
    attention: list[list[list[float]]]
    relevance: dict[str, list[list[float]]]
