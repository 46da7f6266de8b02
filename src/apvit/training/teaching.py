"""Teachers: finished weights whose probabilities are mixed into what every training face teaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from apvit.data.augmentation import normalise
from apvit.engines import Engine, create_engine
from apvit.expressions import LabelSpace
from apvit.weights.card import Preprocessing

from .batches import Faces
from .folder import TrainingError

BATCH = 64


def taught(
    faces: Faces, teachers: Sequence[str], share: float, preprocessing: Preprocessing, labels: LabelSpace
) -> Faces:
    """`faces` with targets (1 - share) * targets + share * what `teachers` say about the face and its mirror image.

    Knowledge distillation (Hinton et al., arXiv 1503.02531) with one answer per face, given before training, so that
    a step costs nothing more; where few annotators voted it is the steadier opinion. Of several teachers the
    mean of the probabilities counts.

    Raises TrainingError where a teacher tells other expressions, or reads faces of another framing, size or colour.
    """
    said = torch.stack([_answers(faces, teacher, preprocessing, labels) for teacher in teachers]).mean(0)
    return replace(faces, targets=faces.targets * (1 - share) + said * share)


def _answers(faces: Faces, weights: str, preprocessing: Preprocessing, labels: LabelSpace) -> Tensor:
    """Mean probabilities of every face and its mirror image: float32 [N, K]."""
    engine = create_engine(weights, "torch")
    _check(engine, weights, preprocessing, labels)
    mean, std = (torch.tensor(values) for values in (engine.card.preprocessing.mean, engine.card.preprocessing.std))
    answers = torch.empty_like(faces.targets)
    for start in range(0, len(faces), BATCH):
        x = normalise(faces.pixels[start : start + BATCH].float() / 255, mean, std)
        both = [torch.from_numpy(engine.run(view.numpy()).probabilities) for view in (x, x.flip(-1))]
        answers[start : start + BATCH] = (both[0] + both[1]) / 2
    return answers


def _check(engine: Engine, weights: str, preprocessing: Preprocessing, labels: LabelSpace) -> None:
    card = engine.card
    if card.labels.expressions != labels.expressions:
        raise TrainingError(
            f"the teacher {weights} tells {', '.join(card.labels.expressions)} and the data "
            f"{', '.join(labels.expressions)}: a teacher needs the same expressions in the same order"
        )
    given, wanted = (
        (p.alignment.name if p.alignment else "none", p.size, p.colour) for p in (card.preprocessing, preprocessing)
    )
    if given != wanted:
        raise TrainingError(
            f"the teacher {weights} reads faces of alignment, size and colour {given}, the new network {wanted}"
        )
