"""What a model starts from: random weights, weights of ours, or pretrained parts."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from apvit.data import SplitMetadata
from apvit.expressions import LabelSpace
from apvit.faces.alignment import TEMPLATES, AlignmentTemplate
from apvit.files import counted, sha256
from apvit.nn import HybridModel, create_model
from apvit.weights import find_weights, load_ir50, load_vit_small, load_weights
from apvit.weights.card import Preprocessing

from .batches import Faces
from .folder import TrainingError
from .recipe import Recipe

HEAD = "head."
"""What the names of the classifier's tensors start with; their first dimension is the classes."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def new_model(recipe: Recipe, classes: int) -> HybridModel:
    """The recipe's model, its random weights a function of the seed; the head is zero."""
    torch.manual_seed(recipe.seed)
    return create_model(recipe.architecture, **{**recipe.model, "num_classes": classes})


def preprocessing_of(model: HybridModel, data: SplitMetadata) -> Preprocessing:
    """How faces become the model's input, with mean 0 and deviation 1; `normalised` gives the true ones.

    Raises TrainingError for faces aligned to a template that is neither known here nor in the data.
    """
    template: AlignmentTemplate | None = None
    if data.alignment_template is not None:
        template = AlignmentTemplate.from_dict(data.alignment_template)
    elif data.alignment in TEMPLATES:
        template = TEMPLATES[data.alignment]
    elif data.alignment is not None:
        raise TrainingError(
            f"the faces are aligned to the template {data.alignment!r}, which is not known here; known are "
            f"{', '.join(TEMPLATES)}"
        )
    channels = model.config.in_channels
    colour = "grey" if channels == 1 else "rgb"
    return Preprocessing(template, model.config.image_size, colour, (0.0,) * channels, (1.0,) * channels)


def normalised(preprocessing: Preprocessing, faces: Faces, how: str) -> Preprocessing:
    """With mean and deviation as the recipe's `normalise` says: measured on `faces`, or ImageNet's.

    Raises TrainingError for ImageNet's and a grey network.
    """
    if how == "imagenet":
        if preprocessing.channels != 3:
            raise TrainingError("normalise 'imagenet' is for RGB, and this network reads grey: use 'data'")
        return replace(preprocessing, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    mean, std = faces.statistics()
    return replace(preprocessing, mean=mean, std=std)


def weights_used(recipe: Recipe) -> dict[str, str]:
    """{name in the recipe: SHA-256} of the weight files that the recipe names."""
    files = {name: find_weights(name) for name in (recipe.init, *recipe.teachers) if name is not None}
    files |= {name: Path(name) for name in (recipe.stem_weights, recipe.transformer_weights) if name is not None}
    return {name: sha256(path) for name, path in files.items()}


def start(model: HybridModel, recipe: Recipe, preprocessing: Preprocessing, labels: LabelSpace) -> list[dict[str, Any]]:
    """Load what the recipe starts from into `model`, whose classes are `labels`, and say so.

    Returns what the weights in `recipe.init` were trained on, and those that they started from: records of
    `training_data` with the `weights` and their `sha256`. Raises WeightsError for files that cannot be read or do not
    fit, TrainingError for weights of another body.
    """
    origin = [] if recipe.init is None else _start_from(model, recipe.init, preprocessing, labels)
    for path, load, part in (
        (recipe.stem_weights, load_ir50, "stem"),
        (recipe.transformer_weights, load_vit_small, "transformer"),
    ):
        if path is not None:
            report = load(path, model)
            print(f"{part} from {path}: {counted(report.used, 'tensor')}, {len(report.unused)} unused", file=sys.stderr)
    return origin


def load_by_name(model: nn.Module, labels: LabelSpace, weights: nn.Module, given: LabelSpace) -> list[str]:
    """Copy `weights`, whose classes are `given`, into `model`: the classifier's rows by expression, the rest as it is.

    Rows of expressions that `given` lacks stay as they are. Returns the names of tensors that do not fit; nothing is
    copied where there are any.
    """
    own, theirs = model.state_dict(), weights.state_dict()  # the tensors are the modules' own
    shapes, others = (
        {name: tensor.shape[1 if name.startswith(HEAD) else 0 :] for name, tensor in state.items()}
        for state in (own, theirs)
    )
    if unfit := sorted(name for name in shapes | others if shapes.get(name) != others.get(name)):
        return unfit
    known = [name for name in labels.expressions if name in given.expressions]
    rows, of = ([space.index(name) for name in known] for space in (labels, given))
    for name, tensor in theirs.items():
        if name.startswith(HEAD):
            own[name][rows] = tensor[of]
        else:
            own[name].copy_(tensor)
    return []


def _start_from(
    model: HybridModel, weights: str, preprocessing: Preprocessing, labels: LabelSpace
) -> list[dict[str, Any]]:
    given, card = load_weights(weights)
    if unfit := load_by_name(model, labels, given, card.labels):
        raise TrainingError(
            f"{weights} does not fit the model: of another shape are {counted(unfit, 'tensor')}, such as {unfit[0]}; "
            "give the same architecture and hyper-parameters"
        )
    if card.preprocessing.alignment != preprocessing.alignment:
        names = [p.alignment.name if p.alignment else "not known" for p in (card.preprocessing, preprocessing)]
        print(
            f"warning: the alignment of the faces that {weights} was trained on is {names[0]}, and of these {names[1]}",
            file=sys.stderr,
        )
    taken = [name for name in labels.expressions if name in card.labels.expressions]
    fresh = [name for name in labels.expressions if name not in taken]
    print(
        f"starting from {weights}; of its classifier the rows of {', '.join(taken) or 'no expression'}"
        + (f"; new rows for {', '.join(fresh)}" if fresh else ""),
        file=sys.stderr,
    )
    made = card.provenance
    if "assumed" in made:
        print(f"note on {weights}: {made['assumed']}", file=sys.stderr)
    record = {"weights": weights, "sha256": sha256(find_weights(weights))}
    record |= {name: made[name] for name in ("dataset", "split", "inputs", "face_sample") if name in made}
    return [record, *made.get("started_from", [])]
