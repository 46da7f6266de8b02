"""One training run: from a recipe to a folder with weights, figures, curves and all that made them."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning.pytorch.callbacks import RichProgressBar

from apvit.data import DataError, Split, open_split
from apvit.engines.torch_engine import find_device
from apvit.expressions import LabelSpace
from apvit.files import counted
from apvit.machine import describe_machine
from apvit.weights.card import Preprocessing

from .batches import FaceBatches, Faces
from .checkpoints import BestAndLast, WholeCheckpointIO
from .export import export, make_card
from .folder import TrainingError, how_to_go_on, last_checkpoint, write_text
from .module import ExpressionModule
from .pixels import Store, remove_decoded
from .processes import Processes, this_process
from .progress import EpochReport
from .recipe import Recipe, plain
from .starting import new_model, normalised, preprocessing_of, start, weights_used
from .summary import describe, summarise
from .teaching import taught

FIXED = ("architecture", "model", "optimizer", "decay")
"""Fields that a run cannot be resumed with other values of: its checkpoint would not fit."""

NOISE = (".*does not have many workers.*", ".*treespec.*", ".*exists and is not empty.*")
"""Warnings of Lightning that say nothing to whoever trains."""


def train(recipe: Recipe) -> Path:
    """Train by `recipe` into the folder `recipe.output`, which is returned.

    The folder holds recipe.yaml (resolved), environment.json, metrics.csv (per epoch), curves.png, checkpoints/ (best
    on the split selected on, and last; what `resume` goes on from), best.safetensors and last.safetensors (float16
    weights of the moving average, whose cards hold the figures measured on that very file) and summary.json. Started
    by torchrun, all its processes train together and the first one writes.

    Raises TrainingError for a folder that already holds a run (unless resuming), a full disk and a loss that is no
    number; EngineError for a device that is not there; DataError, WeightsError or ValueError for what does not fit.
    """
    folder, processes = Path(recipe.output), this_process()
    find_device(recipe.device)
    last = last_checkpoint(folder)
    _check_folder(folder, last, recipe, processes)
    with _quiet():
        splits, selected_on = _open(recipe)
        labels = splits[0].metadata.labels
        origin = _origin(folder, labels) if recipe.resume else None
        model = new_model(recipe, len(labels))
        preprocessing = preprocessing_of(model, splits[0].metadata)
        store = Store(recipe.memory_limit * 1e9, folder, processes)
        as_prepared = recipe.augmentation_policy == "paper"  # its random crop resizes
        train_faces = Faces.of(splits, preprocessing, recipe.target, store, as_prepared=as_prepared)
        held_out = Faces.of([selected_on], preprocessing, "label", store, labels=labels)
        preprocessing = normalised(preprocessing, train_faces, recipe.normalise)
        if recipe.teachers:
            train_faces = taught(train_faces, recipe.teachers, recipe.teacher_share, preprocessing, labels)
        if origin is None:
            origin = {
                "labels": list(labels.expressions),
                "started_from": start(model, recipe, preprocessing, labels),
                "weights_used": weights_used(recipe),
            }
        batches = FaceBatches(train_faces, held_out, recipe, processes)
        module = ExpressionModule(model, recipe, preprocessing, batches, folder)
        made = {**describe_machine(), **origin}
        if processes.is_first:
            _write_recipe(folder, recipe, made)
            _announce(recipe, model, batches, folder)
        trainer = _trainer(recipe, folder, processes)
        try:
            trainer.fit(module, batches, ckpt_path=last if recipe.resume else None)
        except SystemExit:  # Lightning's answer to Ctrl-C
            print(f"stopped: {how_to_go_on(folder)}", file=sys.stderr)
            raise KeyboardInterrupt from None
        if processes.is_first:
            _finish(replace(recipe, resume=False), module, preprocessing, splits, selected_on, batches, store, made)
    return folder


def _check_folder(folder: Path, last: Path, recipe: Recipe, processes: Processes) -> None:
    if not recipe.resume:
        if last.exists():
            raise TrainingError(f"{folder} already holds a run: give resume=True to go on, or another output")
        return
    if not last.is_file():
        raise TrainingError(f"there is nothing to resume in {folder}: no checkpoints/last.ckpt")
    try:
        before = yaml.safe_load((folder / "recipe.yaml").read_text())
    except OSError:
        return
    now = plain(recipe)
    compared = (now.keys() & before.keys()) - {"resume", "output"}
    differing = [name for name in now if name in compared and now[name] != before[name]]
    if unfit := [name for name in differing if name in FIXED]:
        raise TrainingError(
            f"the run in {folder} has {unfit[0]} {before[unfit[0]]!r} and cannot be resumed with {now[unfit[0]]!r}"
        )
    for name in differing if processes.is_first else ():
        print(f"resuming with {name} {now[name]!r}; the run began with {before[name]!r}", file=sys.stderr)


def _origin(folder: Path, labels: LabelSpace) -> dict[str, Any]:
    """What the run in `folder` began with, as far as its release wrote it down; TrainingError for other `labels`."""
    try:
        made = json.loads((folder / "environment.json").read_text())
    except OSError:
        made = {}
    origin = {name: made[name] for name in ("labels", "weights_used", "started_from") if name in made}
    if origin.get("labels", list(labels.expressions)) != list(labels.expressions):
        raise TrainingError(
            f"the run in {folder} was trained on the expressions {', '.join(origin['labels'])}, and the data now have "
            f"{', '.join(labels.expressions)}: start a new run, with init where it is to go on from these weights"
        )
    return origin


def _open(recipe: Recipe) -> tuple[list[Split], Split]:
    """The splits to train on, and the one to select on."""
    splits = [open_split(recipe.data, "train")]
    if recipe.select == "valid":
        return splits, open_split(recipe.data, "valid")
    valid = _split_if_there(recipe.data, "valid")
    return splits + ([] if valid is None else [valid]), open_split(recipe.data, "test")


def _trainer(recipe: Recipe, folder: Path, processes: Processes) -> lightning.Trainer:
    on_terminal = sys.stderr.isatty()
    return lightning.Trainer(
        **processes.trainer(recipe.device),
        sync_batchnorm=processes.world > 1 and recipe.device != "cpu" and torch.cuda.is_available(),
        precision=recipe.precision,
        max_epochs=recipe.epochs,
        accumulate_grad_batches=recipe.accumulate,
        gradient_clip_val=recipe.clip_norm or None,
        use_distributed_sampler=False,  # `FaceBatches` deals the faces itself
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        logger=False,
        plugins=[WholeCheckpointIO()],
        callbacks=[
            BestAndLast(folder / "checkpoints", f"{recipe.select}_{recipe.select_by}"),
            EpochReport(folder, recipe.select),
            *([RichProgressBar()] if on_terminal else []),
        ],
        enable_progress_bar=on_terminal,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def _split_if_there(data: str, name: str) -> Split | None:
    path = Path(data)
    if any((path / f"{other}.parquet").is_file() for other in ("train", "valid", "test")):
        return open_split(data, name) if (path / f"{name}.parquet").is_file() else None
    try:
        return open_split(data, name)
    except DataError as error:  # a dataset in its owner's layout, whose train split was read already
        print(f"going without a {name} split: {error}", file=sys.stderr)
        return None


def _write_recipe(folder: Path, recipe: Recipe, made: dict[str, Any]) -> None:
    resolved = plain(replace(recipe, resume=False))
    write_text(folder / "recipe.yaml", yaml.safe_dump(resolved, sort_keys=False))
    write_text(folder / "environment.json", json.dumps(made, indent=1) + "\n")


def _announce(recipe: Recipe, model: torch.nn.Module, batches: FaceBatches, folder: Path) -> None:
    train_faces, held_out, steps = batches.train_faces, batches.held_out, batches.steps_per_epoch
    print(
        f"{recipe.architecture}: {sum(p.numel() for p in model.parameters()):,} parameters, {len(train_faces):,} "
        f"training and {len(held_out):,} {recipe.select} faces, {counted(steps, 'step')} an epoch, into {folder}",
        file=sys.stderr,
    )
    if recipe.select == "test":
        print(
            "selecting the best epoch on TEST, after training on train and valid, as the literature does: its figures "
            "are higher than those of a clean protocol",
            file=sys.stderr,
        )
    shared = len(set(train_faces.groups) & set(held_out.groups))
    if shared:
        print(
            f"warning: both in training and in {recipe.select}: {counted(shared, 'group')} of faces (a subject, "
            "video or picture)",
            file=sys.stderr,
        )


def _finish(
    recipe: Recipe,
    module: ExpressionModule,
    preprocessing: Preprocessing,
    splits: list[Split],
    selected_on: Split,
    batches: FaceBatches,
    store: Store,
    made: dict[str, Any],
) -> None:
    """Export and measure the best and the last epoch; read the test split, once, where selection did not."""
    folder = store.folder
    card = make_card(recipe, preprocessing, module, splits, batches.classes, made)
    on_selection = (selected_on.metadata, batches.held_out)
    measured = {"last": [on_selection], "best": [on_selection]}
    if recipe.select == "valid" and (test := _split_if_there(recipe.data, "test")) is not None:
        faces = Faces.of([test], preprocessing, "label", store, labels=card.labels)
        measured["best"].append((test.metadata, faces))
    last, best = (
        export(module, folder / "checkpoints" / f"{name}.ckpt", card, folder / f"{name}.safetensors", on, recipe.device)
        for name, on in measured.items()
    )
    summary = summarise(recipe.select, best, last, train_faces=len(module.guard.sources), epochs=recipe.epochs)
    write_text(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    print(describe(summary), file=sys.stderr)
    remove_decoded(folder)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Lightning says to itself."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in NOISE:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
