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

    The teachers' expressions go by name; what a teacher says of others than `labels` does not count. Raises
    TrainingError where one does not know all of `labels`, or reads faces of another framing, size or colour.
    """
    said = torch.stack([_answers(faces, teacher, preprocessing, labels) for teacher in teachers]).mean(0)
    return replace(faces, targets=faces.targets * (1 - share) + said * share)


def _answers(faces: Faces, weights: str, preprocessing: Preprocessing, labels: LabelSpace) -> Tensor:
    """Mean probabilities of every face and its mirror image, in the order of `labels`: float32 [N, K]."""
    engine = create_engine(weights, "torch")
    _check(engine, weights, preprocessing, labels)
    columns = [engine.card.labels.index(name) for name in labels.expressions]
    mean, std = (torch.tensor(values) for values in (engine.card.preprocessing.mean, engine.card.preprocessing.std))
    answers = torch.empty_like(faces.targets)
    for start in range(0, len(faces), BATCH):
        x = normalise(faces.pixels[start : start + BATCH].float() / 255, mean, std)
        both = [torch.from_numpy(engine.run(view.numpy()).probabilities)[:, columns] for view in (x, x.flip(-1))]
        answers[start : start + BATCH] = (both[0] + both[1]) / 2
    answers.clamp_(min=1e-12)  # of a face that is certainly something else, nothing is known
    return answers / answers.sum(1, keepdim=True)


def _check(engine: Engine, weights: str, preprocessing: Preprocessing, labels: LabelSpace) -> None:
    card = engine.card
    if unknown := [name for name in labels.expressions if name not in card.labels.expressions]:
        raise TrainingError(
            f"the teacher {weights} does not know {', '.join(unknown)} and would teach that no face shows it: give "
            f"teachers that know all expressions of the data, which are {', '.join(labels.expressions)}"
        )
    given, wanted = (
        (p.alignment.name if p.alignment else "none", p.size, p.colour) for p in (card.preprocessing, preprocessing)
    )
    if given != wanted:
        raise TrainingError(
            f"the teacher {weights} reads faces of alignment, size and colour {given}, the new network {wanted}"
        )
