"""Evaluate a weight file on a prepared split: one pass, no test-time augmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from apvit.data import Split
from apvit.engines import Engine
from apvit.expressions import label_map

from .metrics import expression_metrics


class EvaluationError(ValueError):
    """The weights and the data do not fit each other."""


def evaluate(
    engine: Engine, split: Split, *, batch_size: int = 64, progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """The figures of `expression_metrics` for the labelled faces of `split`.

    The data's labels are mapped into the weights' label space by name; faces whose expression the weights do not know
    (contempt, other) are left out and counted as `faces_outside_labels`. Raises EvaluationError where the faces are
    framed by another alignment template than the weights were trained on, or differ in size; LabelSpaceError where the
    label spaces do not fit. `progress` is called with the number of faces done in each batch.
    """
    card, data = engine.card, split.metadata
    wanted = card.preprocessing.alignment
    if data.alignment is not None and wanted is not None and data.alignment != wanted.name:
        raise EvaluationError(
            f"the faces are framed by the alignment template {data.alignment!r}, but the weights expect "
            f"{wanted.name!r}: align the data to that template"
        )
    mapped = np.array([-1 if label is None else label for label in label_map(data.labels, card.labels)])
    labels = np.where(split.labels >= 0, mapped[split.labels], -1)
    chosen = np.flatnonzero(labels >= 0)
    if not len(chosen):
        raise EvaluationError(f"the {data.split} split has no labelled face that the weights could be right about")
    faces = split.select(chosen).pixels(card.preprocessing.colour)
    if faces.shape[1] != card.preprocessing.size:
        raise EvaluationError(f"the faces are {faces.shape[1]} px, but the weights read {card.preprocessing.size} px")
    probabilities: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(faces), batch_size):
        batch = faces[start : start + batch_size]
        probabilities.append(engine.run(card.preprocessing.normalise(batch)).probabilities)
        if progress is not None:
            progress(len(batch))
    figures = expression_metrics(np.concatenate(probabilities), labels[chosen], card.labels)
    return {**figures, "faces_outside_labels": int((split.labels >= 0).sum() - len(chosen))}
