"""The Lightning module: one training step, one pass of the moving average over the faces to select on."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from apvit.data.augmentation import augment, normalise
from apvit.data.paper_augmentation import augment_as_paper
from apvit.nn import HybridModel
from apvit.weights.card import Preprocessing

from .averaging import average_decay, update_average
from .batches import Batch, FaceBatches
from .guard import LossGuard, Step
from .objective import loss as objective
from .objective import soft_cross_entropy
from .optimisers import make_optimiser
from .processes import Processes
from .randomness import STEP, seed_for
from .recipe import Recipe
from .schedule import rate_factor


class ExpressionModule(lightning.LightningModule):
    """Trains `model`, logits [B, K] of faces [B, C, S, S]; its moving average is what is evaluated and saved.

    folder: where a batch with a bad loss is saved.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, model: HybridModel, recipe: Recipe, preprocessing: Preprocessing, batches: FaceBatches, folder: Path
    ):
        super().__init__()
        # Fastest for convolutions: 13.8 ms an image instead of 76 for apvit_tiny on CPU.
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.recipe = recipe
        self.size = preprocessing.size
        self.steps_per_epoch = batches.steps_per_epoch
        self.processes: Processes = batches.processes
        self.guard = LossGuard(folder, batches.train_faces.sources)
        self.register_buffer("mean", torch.tensor(preprocessing.mean), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std), persistent=False)
        classes = batches.train_faces.targets.shape[1]
        self.metrics = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(classes, average="micro"),
                "mean_class_accuracy": MulticlassAccuracy(classes, average="macro"),
                "macro_f1": MulticlassF1Score(classes, average="macro"),
            },
            prefix=f"{recipe.select}_",
        )
        self.held_out_loss = MeanMetric()
        if recipe.compile:
            self.model.compile()

    def on_fit_start(self) -> None:
        """Keep one Generator per run on the device that augments."""
        self.generator = torch.Generator(self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of the augmented faces."""
        # The model's own dropping draws from torch's generators; all of a step is a function of where it stands.
        seed = seed_for(self.recipe.seed, self.current_epoch, batch_idx, self.processes.rank, STEP)
        self.generator.manual_seed(seed)
        torch.manual_seed(seed)
        with torch.autocast(self.device.type, enabled=False):
            x = self._augment(batch.faces).contiguous(memory_format=torch.channels_last)
        # On CPU the fused attention's backward takes a third of a bfloat16 step; plain products take a tenth.
        with sdpa_kernel(SDPBackend.MATH) if self.device.type == "cpu" else nullcontext():
            logits = self.model(x)
        recipe = self.recipe
        loss = objective(logits, batch.targets, recipe.target, recipe.label_smoothing, recipe.target_power)
        self.log(
            "train_loss",
            loss,
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            batch_size=len(x),
            sync_dist=self.processes.world > 1,
        )
        self.step = Step(loss.detach(), batch.faces, x, batch.targets, batch.positions, self.current_epoch, batch_idx)
        return loss

    def _augment(self, faces: Tensor) -> Tensor:
        recipe = self.recipe
        if recipe.augmentation_policy == "paper":
            return augment_as_paper(faces, self.mean, self.std, self.size, recipe.paper_augmentation, self.generator)
        return augment(faces, self.mean, self.std, recipe.augmentation, self.generator)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Move the average one step, where the optimiser took one."""
        if (batch_idx + 1) % self.recipe.accumulate == 0:
            update_average(self.average, self.model, average_decay(self.global_step, self.recipe.average_decay))
        self.guard.watch(self.step)

    def on_validation_epoch_start(self) -> None:
        """Make the replicas one, and evaluate the average in evaluation mode."""
        self.guard.watch(None)
        if self.processes.world > 1:  # every process's BatchNorm saw other faces; the first one's figures count
            for buffer in [*self.model.buffers(), *self.average.buffers()]:
                torch.distributed.broadcast(buffer, 0)
        self.average.eval()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Figures of the moving average, in float32 whatever the training's precision."""
        with torch.autocast(self.device.type, enabled=False):
            x = normalise(batch.faces.float() / 255, self.mean, self.std)
            logits = self.average(x.contiguous(memory_format=torch.channels_last))
        self.metrics.update(logits, batch.targets.argmax(1))
        self.held_out_loss.update(soft_cross_entropy(logits, batch.targets), len(logits))

    def on_validation_epoch_end(self) -> None:
        """Log the pass's figures, over the faces of all processes."""
        together = self.processes.world > 1
        self.log_dict(self.metrics.compute(), prog_bar=True, sync_dist=together)
        self.log(f"{self.recipe.select}_loss", self.held_out_loss.compute(), sync_dist=together)
        self.metrics.reset()
        self.held_out_loss.reset()

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser and schedule."""
        recipe = self.recipe
        optimizer = make_optimiser(self.model, recipe)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: rate_factor(
                step, self.steps_per_epoch, recipe.epochs, recipe.warmup_epochs, recipe.schedule_per
            ),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
