"""From checkpoints to weight files whose cards hold the figures measured on those very files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from apvit.data import Split, SplitMetadata
from apvit.engines import Engine, create_engine
from apvit.evaluation import expression_metrics
from apvit.evaluation.provenance import describe_measurement, training_data
from apvit.expressions import LabelSpace
from apvit.weights import save_weights
from apvit.weights.card import Card, Preprocessing

from .batches import Faces
from .checkpoints import read_checkpoint
from .module import ExpressionModule
from .recipe import Recipe

FIGURES = ("accuracy", "mean_class_accuracy", "macro_f1", "ece")
"""Figures of a measurement that a run's summary repeats."""

MADE = ("weights_used", "started_from", "date", "commit", "processor", "packages")
"""What a card repeats of how its run was made."""

# Terms as microsoft/FERPlus and the FER2013 challenge state them; a card may claim no more than its data allow.
DATA_TERMS = {
    "ferplus": "Trained on FER2013 images, which are for research; FER+ labels are Microsoft's, MIT licence. "
    "apvit's code is Apache-2.0; whether weights trained on these images may be used beyond research is for the user "
    "to establish.",
}
OTHER_TERMS = (
    "Trained on {dataset}, which its owners hand out under terms of their own: ask them before any use beyond research."
)
STEM_TERMS = " Its stem started from face-recognition weights; those trained on MS1M are for non-commercial use only."
INTENDED_USE = (
    "Recognising the displayed facial expression in photographs, for research and for applications that their "
    "subjects agreed to. An expression is not an emotion. Not for inferring emotions at work or in education "
    "(forbidden in the EU by the AI Act, Article 5(1)(f)), nor for decisions about people."
)


def make_card(
    recipe: Recipe,
    preprocessing: Preprocessing,
    module: ExpressionModule,
    splits: Sequence[Split],
    classes: npt.NDArray[np.int64],
    made: dict[str, Any],
) -> Card:
    """The card of a run's weights, without figures.

    splits: those trained on. classes: of the training faces. made: `describe_machine` and what the run began with.
    """
    data = splits[0].metadata
    terms = DATA_TERMS.get(data.dataset, OTHER_TERMS.format(dataset=data.dataset))
    return Card(
        architecture=recipe.architecture,
        parameters=module.average.config.to_dict(),
        labels=data.labels,
        preprocessing=preprocessing,
        provenance={
            **training_data(splits),
            "protocol": data.protocol,
            "selected_on": recipe.select,
            "leaks": data.leaks,
            "faces": dict(zip(data.labels.expressions, _counts(classes, data.labels), strict=True)),
            "seed": recipe.seed,
            "recipe": {name: _shortened(value) for name, value in asdict(recipe).items()},
            **{name: _shortened(made[name]) for name in MADE if name in made},
        },
        metrics=(),
        licence=terms + (STEM_TERMS if recipe.stem_weights else ""),
        intended_use=INTENDED_USE,
    )


def _counts(classes: npt.NDArray[np.int64], labels: LabelSpace) -> list[int]:
    counts: list[int] = np.bincount(classes, minlength=len(labels)).tolist()
    return counts


def _shortened(value: Any) -> Any:
    """An absolute path as its file and that one's folder: a card is published, the folders above are one machine's."""
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    if isinstance(value, dict):
        return {_shortened(name): _shortened(item) for name, item in value.items()}
    if isinstance(value, str) and Path(value).is_absolute():
        return "/".join(Path(value).parts[-2:])
    return value


def export(
    module: ExpressionModule,
    checkpoint: Path,
    card: Card,
    path: Path,
    measured_on: Sequence[tuple[SplitMetadata, Faces]],
    device: str,
) -> dict[str, Any]:
    """Write the moving average in `checkpoint` as float16, measure that file in float32, write the figures into it.

    Returns {"epoch": counted from 1, "runtime": of `Runtime`, split: {"faces", and FIGURES}, ...}.
    """
    state = read_checkpoint(checkpoint)
    weights = {k.removeprefix("average."): v for k, v in state["state_dict"].items() if k.startswith("average.")}
    module.average.load_state_dict(weights)
    epoch = state["epoch"] + 1
    card = replace(card, provenance={**card.provenance, "epoch": epoch})
    save_weights(module.average, card, path, dtype=torch.float16)
    engine = create_engine(path, "torch", device)
    measurements = [
        {**describe_measurement(data, engine.runtime), **measure(engine, faces)} for data, faces in measured_on
    ]
    save_weights(module.average, replace(card, metrics=tuple(measurements)), path, dtype=torch.float16)
    figures = {m["split"]: {name: m[name] for name in ("faces", *FIGURES)} for m in measurements}
    return {"epoch": epoch, "runtime": asdict(engine.runtime), **figures}


def measure(engine: Engine, faces: Faces, batch_size: int = 64) -> dict[str, Any]:
    """The figures of `expression_metrics`, without the confusion matrix, of faces whose targets are labels."""
    card = engine.card
    probabilities = []
    for start in range(0, len(faces), batch_size):
        part = faces.pixels[start : start + batch_size]
        planes = part.permute(0, 2, 3, 1) if part.shape[1] == 3 else part[:, 0]
        probabilities.append(engine.run(card.preprocessing.normalise(planes.numpy())).probabilities)
    figures = expression_metrics(np.concatenate(probabilities), faces.classes, card.labels)
    return {name: value for name, value in figures.items() if name != "confusion"}
