"""Evaluate a weight file on a prepared split: one pass, no test-time augmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apvit.data import Split
from apvit.engines import Engine

from .metrics import expression_metrics
from .predictions import Predictions, predict


def evaluate(
    engine: Engine, split: Split, *, batch_size: int = 64, progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """The figures of `figures_of` for the labelled faces of `split`, without intervals. See `predict`."""
    return figures_of(predict(engine, split, batch_size=batch_size, progress=progress))


def figures_of(predictions: Predictions) -> dict[str, Any]:
    """The figures of `expression_metrics`, and how many labelled faces the weights have no class for."""
    figures = expression_metrics(predictions.probabilities, predictions.labels, predictions.space)
    return {**figures, "faces_outside_labels": sum(predictions.dropped.values())}
