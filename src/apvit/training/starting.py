"""What a model starts from: random weights, weights of ours, or pretrained parts."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace

import torch
from torch import nn

from apvit.data import SplitMetadata
from apvit.faces.alignment import TEMPLATES, AlignmentTemplate
from apvit.nn import HybridModel, create_model
from apvit.weights import load_ir50, load_vit_small, load_weights
from apvit.weights.card import Preprocessing

from .batches import Faces
from .folder import TrainingError
from .recipe import Recipe

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


def start(model: HybridModel, recipe: Recipe, preprocessing: Preprocessing) -> None:
    """Load what the recipe starts from into `model`, and say so.

    Raises WeightsError for files that cannot be read or do not fit, TrainingError for weights of another body.
    """
    if recipe.init is not None:
        _start_from(model, recipe.init, preprocessing)
    for path, load, part in (
        (recipe.stem_weights, load_ir50, "stem"),
        (recipe.transformer_weights, load_vit_small, "transformer"),
    ):
        if path is not None:
            report = load(path, model)
            print(f"{part} from {path}: {len(report.used)} tensors, {len(report.unused)} unused", file=sys.stderr)


def load_body(model: nn.Module, weights: nn.Module) -> list[str]:
    """Copy every tensor of `weights` that fits into `model`; returns the names that did not fit (a new head's)."""
    own, given = model.state_dict(), weights.state_dict()
    fitting = {name: tensor for name, tensor in given.items() if name in own and own[name].shape == tensor.shape}
    model.load_state_dict({**own, **fitting})
    return sorted(own.keys() - fitting.keys())


def _start_from(model: HybridModel, weights: str, preprocessing: Preprocessing) -> None:
    given, card = load_weights(weights)
    fresh = load_body(model, given)
    if unfit := [name for name in fresh if not name.startswith("head.")]:
        raise TrainingError(
            f"{weights} does not fit the model: {len(unfit)} tensors differ in shape, such as {unfit[0]}; "
            "give the same architecture and hyper-parameters"
        )
    if card.preprocessing.alignment != preprocessing.alignment:
        names = [p.alignment.name if p.alignment else "none" for p in (card.preprocessing, preprocessing)]
        warnings.warn(
            f"{weights} was trained on faces aligned to {names[0]}, these are aligned to {names[1]}", stacklevel=2
        )
    print(f"starting from {weights}" + (", with a new head" if fresh else ""), file=sys.stderr)
