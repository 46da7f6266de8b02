"""One training run: from a recipe to a folder with weights, figures, curves and all that made them."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger

from apvit.data import Split, open_split
from apvit.faces.alignment import TEMPLATES
from apvit.nn import APViT, create_model
from apvit.weights.card import Card, Preprocessing
from apvit.weights.file import load_weights, save_weights

from .batches import FaceBatches, Faces
from .curves import draw_curves
from .environment import environment
from .module import ExpressionModule, load_body
from .recipe import Recipe

# Terms as microsoft/FERPlus and the FER2013 challenge state them; a card may claim no more than its data allow.
DATA_TERMS = {
    "ferplus": "Trained on FER2013 images, which are for research; FER+ labels are Microsoft's, MIT licence. "
    "apvit's code is Apache-2.0; whether weights trained on these images may be used beyond research is for the user "
    "to establish.",
}
INTENDED_USE = (
    "Recognising the displayed facial expression in photographs, for research and for applications that their "
    "subjects agreed to. An expression is not an emotion. Not for inferring emotions at work or in education "
    "(forbidden in the EU by the AI Act, Article 5(1)(f)), nor for decisions about people."
)


class TrainingError(ValueError):
    """A run cannot start or go on; the message says what to change."""


def train(recipe: Recipe) -> Path:
    """Train by `recipe` into the folder `recipe.output`, which is returned.

    The folder holds recipe.yaml (resolved), environment.json, metrics.csv (per epoch), curves.png, checkpoints/ (best
    on validation and last; what `resume` goes on from), best.safetensors and last.safetensors (float16 weights of the
    moving average, whose cards hold the figures measured on that very file) and summary.json. Raises TrainingError for
    a folder that already holds a run (unless resuming) and DataError, WeightsError or ValueError for what does not fit.
    """
    folder = Path(recipe.output)
    last = folder / "checkpoints" / "last.ckpt"
    if recipe.resume and not last.is_file():
        raise TrainingError(f"there is nothing to resume in {folder}: no checkpoints/last.ckpt")
    if not recipe.resume and last.exists():
        raise TrainingError(f"{folder} already holds a run: give --resume true to go on, or another --output")

    train_split, valid_split = open_split(recipe.data, "train"), open_split(recipe.data, "valid")
    torch.manual_seed(recipe.seed)
    fields = {**recipe.model, "num_classes": len(train_split.metadata.labels)}
    model = create_model(recipe.architecture, **fields)
    preprocessing = _unscaled(model, train_split)
    faces = Faces(train_split, preprocessing, recipe.target), Faces(valid_split, preprocessing, "label")
    mean, std = _statistics(faces[0])
    preprocessing = replace(preprocessing, mean=mean, std=std)
    if recipe.init is not None:
        _start_from(model, recipe.init, preprocessing)
    batches = FaceBatches(*faces, recipe.batch_size, recipe.seed)
    module = ExpressionModule(model, recipe, preprocessing, batches.steps_per_epoch)

    folder.mkdir(parents=True, exist_ok=True)
    made = environment()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(_plain(asdict(recipe)), sort_keys=False))
    (folder / "environment.json").write_text(json.dumps(made, indent=1) + "\n")
    print(
        f"{recipe.architecture}: {sum(p.numel() for p in model.parameters()):,} parameters, {len(faces[0]):,} training "
        f"and {len(faces[1]):,} validation faces, {batches.steps_per_epoch} steps an epoch, into {folder}",
        file=sys.stderr,
    )
    logger = CSVLogger(folder, name=None, version="")
    keeper = ModelCheckpoint(
        folder / "checkpoints",
        filename="best",
        monitor="valid_accuracy",
        mode="max",
        save_last=True,
        enable_version_counter=False,
    )
    trainer = lightning.Trainer(
        accelerator=recipe.device,
        devices=1,
        precision=recipe.precision,
        max_epochs=recipe.epochs,
        gradient_clip_val=recipe.clip_norm,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        logger=logger,
        callbacks=[keeper, _Epochs(folder), *([RichProgressBar()] if sys.stderr.isatty() else [])],
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        default_root_dir=folder,
    )
    with warnings.catch_warnings():
        # Faces lie in memory and are augmented in batches: worker processes would only cost.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        trainer.fit(module, batches, ckpt_path=last if recipe.resume else None)

    provenance = _provenance(recipe, train_split, made)
    card = Card(
        architecture=recipe.architecture,
        parameters=model.config.to_dict(),
        labels=train_split.metadata.labels,
        preprocessing=preprocessing,
        provenance=provenance,
        metrics=(),
        licence=DATA_TERMS.get(train_split.metadata.dataset, "Ask the owners of the training data."),
        intended_use=INTENDED_USE,
    )
    summary: dict[str, Any] = {
        "train_faces": len(faces[0]),
        "epochs": recipe.epochs,
        "stopped_after": trainer.current_epoch,
    }
    for name, checkpoint in (("best", Path(keeper.best_model_path)), ("last", last)):
        summary[name] = _export(module, checkpoint, card, valid_split, folder / f"{name}.safetensors")
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    return folder


class _Epochs(Callback):
    """After each validation, one line for people and the curves so far."""

    def __init__(self, folder: Path):
        self.folder = folder

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        text = "  ".join(f"{name} {figures[name]:.4f}" for name in sorted(figures))
        print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {text}", file=sys.stderr, flush=True)
        metrics = self.folder / "metrics.csv"
        if metrics.is_file():
            draw_curves(metrics, self.folder / "curves.png", self.folder.name)


def _unscaled(model: APViT, split: Split) -> Preprocessing:
    """The network's preprocessing with mean 0 and std 1; the true ones are measured on the faces it yields."""
    config = model.config
    template = None if split.metadata.alignment is None else TEMPLATES[split.metadata.alignment]
    colour = "grey" if config.in_channels == 1 else "rgb"
    channels = config.in_channels
    return Preprocessing(template, config.image_size, colour, (0.0,) * channels, (1.0,) * channels)


def _statistics(faces: Faces) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over the training faces, in units of pixel / 255, to 4 digits."""
    pixels = faces.pixels.double() / 255
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3), correction=0)
    return tuple(round(float(v), 4) for v in mean), tuple(round(float(v), 4) for v in std)


def _start_from(model: APViT, weights: str, preprocessing: Preprocessing) -> None:
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


def _provenance(recipe: Recipe, split: Split, made: dict[str, Any]) -> dict[str, Any]:
    data = split.metadata
    return {
        "dataset": data.dataset,
        "protocol": data.protocol,
        "split": data.split,
        "inputs": data.inputs,
        "leaks": data.leaks,
        "seed": recipe.seed,
        "recipe": _plain(asdict(recipe)),
        **{name: made[name] for name in ("date", "commit", "processor", "packages")},
    }


def _export(module: ExpressionModule, checkpoint: Path, card: Card, valid: Split, path: Path) -> dict[str, Any]:
    """Write the average in `checkpoint` as float16, measure that file in float32, write it again with the figures."""
    from apvit.engines import create_engine
    from apvit.evaluation import evaluate

    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    average = {k.removeprefix("average."): v for k, v in state["state_dict"].items() if k.startswith("average.")}
    model = APViT(module.model.config)
    model.load_state_dict(average)
    card = replace(card, provenance={**card.provenance, "epoch": state["epoch"] + 1})
    save_weights(model, card, path, dtype=torch.float16)
    figures = evaluate(create_engine(path), valid)
    confusion_free = {name: value for name, value in figures.items() if name != "confusion"}
    measured = {"dataset": valid.metadata.dataset, "split": valid.metadata.split, "protocol": valid.metadata.protocol}
    save_weights(model, replace(card, metrics=({**measured, **confusion_free},)), path, dtype=torch.float16)
    return {
        "epoch": state["epoch"] + 1,
        **{k: figures[k] for k in ("faces", "accuracy", "mean_class_accuracy", "macro_f1", "ece")},
    }


def _plain(value: Any) -> Any:
    """Tuples as lists, for YAML and JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
