"""What a network says about the faces of a split, beside what the annotators said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from apvit.data import Split
from apvit.engines import Engine
from apvit.expressions import LabelSpace, label_map
from apvit.faces.alignment import resize_face
from apvit.weights import Card

from .errors import EvaluationError


@dataclass(frozen=True)
class Predictions:
    """Probabilities for the N faces of a split that the weights could be right about."""

    space: LabelSpace
    """Label space of the weights, in which everything here is counted."""
    data_space: LabelSpace
    """Label space of the data."""
    probabilities: npt.NDArray[np.float32]
    """[N, K] softmax at the card's temperature."""
    labels: npt.NDArray[np.int64]
    """[N] indices in `space`."""
    sources: list[str]
    groups: list[str]
    """Faces that are not independent share one."""
    attributes: list[tuple[str, ...]] | None
    """[N] values in the order of `attribute_names`; None where the split carries none."""
    attribute_names: tuple[str, ...] | None
    dropped: dict[str, int]
    """{expression: labelled faces} that the weights have no class for, and which are therefore left out."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """[N] the most probable class."""
        return np.asarray(self.probabilities.argmax(1), np.int64)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """[N] whether that is the label."""
        return np.asarray(self.predicted == self.labels)

    def select(self, chosen: npt.NDArray[np.bool_]) -> Predictions:
        """The predictions for the faces of an [N] mask."""
        indices = np.flatnonzero(chosen)
        return replace(
            self,
            probabilities=self.probabilities[indices],
            labels=self.labels[indices],
            sources=[self.sources[i] for i in indices],
            groups=[self.groups[i] for i in indices],
            attributes=None if self.attributes is None else [self.attributes[i] for i in indices],
        )


def predict(
    engine: Engine, split: Split, *, batch_size: int = 64, progress: Callable[[int], None] | None = None
) -> Predictions:
    """Run `engine` on the labelled faces of `split`, one pass, decoding no more than a batch at a time.

    The data's labels are mapped into the weights' label space by name; faces whose expression the weights do not know
    (contempt, other) are left out and counted. Raises EvaluationError where the faces are framed by another alignment
    template than the weights were trained on, or none is left; LabelSpaceError where the label spaces
    do not fit. `progress` is called with the number of faces done in each batch.
    """
    check_framing(engine.card, split)
    labels = weights_labels(engine.card, split)
    chosen = scored(labels, split)
    probabilities: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(chosen), batch_size):
        faces = decode(engine.card, split, chosen[start : start + batch_size])
        probabilities.append(engine.run(engine.card.preprocessing.normalise(faces)).probabilities)
        if progress is not None:
            progress(len(faces))
    kept = split.select(chosen)
    outside = Counter(split.metadata.labels.expressions[i] for i in split.labels[(split.labels >= 0) & (labels < 0)])
    return Predictions(
        space=engine.card.labels,
        data_space=split.metadata.labels,
        probabilities=np.concatenate(probabilities),
        labels=labels[chosen],
        sources=kept.sources,
        groups=kept.groups,
        attributes=kept.attributes,
        attribute_names=kept.metadata.attribute_names,
        dropped=dict(outside),
    )


def check_framing(card: Card, split: Split) -> None:
    """Raise EvaluationError where the faces are framed by another template than the weights were trained on."""
    given, wanted = split.metadata.alignment, card.preprocessing.alignment
    if given is not None and wanted is not None and given != wanted.name:
        raise EvaluationError(
            f"the faces are framed by the alignment template {given!r}, but the weights expect "
            f"{wanted.name!r}: align the data to that template"
        )


def weights_labels(card: Card, split: Split) -> npt.NDArray[np.int64]:
    """[len(split)] labels in the weights' space; -1 where unknown or where the weights have no such class."""
    mapped = np.array([-1 if label is None else label for label in label_map(split.metadata.labels, card.labels)])
    return np.where(split.labels >= 0, mapped[split.labels], -1)


def scored(labels: npt.NDArray[np.int64], split: Split) -> npt.NDArray[np.intp]:
    """The indices of the faces whose label (of `weights_labels`) is known; EvaluationError where there is none."""
    chosen = np.flatnonzero(labels >= 0)
    if not len(chosen):
        raise EvaluationError(
            f"the {split.metadata.split} split has no labelled face that the weights could be right about"
        )
    return chosen


def decode(card: Card, split: Split, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
    """The faces at `indices` in the colour and size that the weights read; other sizes are resized, antialiased."""
    faces = split.select(indices).pixels(card.preprocessing.colour)
    size = card.preprocessing.size
    return faces if faces.shape[1] == size else np.stack([resize_face(face, size) for face in faces])
