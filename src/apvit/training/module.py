"""The Lightning module: one training step, one validation pass of the moving average."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from apvit.data.augmentation import augment
from apvit.nn import APViT
from apvit.weights.card import Preprocessing

from .averaging import average_decay, update_average
from .batches import Batch, seed_for
from .objective import smooth, soft_cross_entropy
from .recipe import Recipe
from .schedule import decay_groups, warmup_cosine


class ExpressionModule(lightning.LightningModule):
    """Trains `model`; `average`, its moving average, is what is validated and saved."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: APViT, recipe: Recipe, preprocessing: Preprocessing, steps_per_epoch: int):
        super().__init__()
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        self.register_buffer("mean", torch.tensor(preprocessing.mean), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std), persistent=False)
        classes = model.config.num_classes
        self.metrics = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(classes, average="micro"),
                "mean_class_accuracy": MulticlassAccuracy(classes, average="macro"),
                "macro_f1": MulticlassF1Score(classes, average="macro"),
            },
            prefix="valid_",
        )
        if recipe.compile:
            self.model.compile()

    def on_fit_start(self) -> None:
        """Keep one Generator per run on the device that augments."""
        self.generator = torch.Generator(self.device)
        # Lightning moves the module to its device; the memory format is ours: 13.8 ms an image instead of 76 on CPU.
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy of the augmented faces with their target distributions."""
        pixels, target = batch
        self.generator.manual_seed(seed_for(self.recipe.seed, self.current_epoch, batch_idx))
        with torch.autocast(self.device.type, enabled=False):
            x = augment(pixels, self.mean, self.std, self.recipe.augmentation, self.generator)
        # On CPU the fused attention's backward takes a third of a bfloat16 step; plain products take a tenth.
        with sdpa_kernel(SDPBackend.MATH) if self.device.type == "cpu" else nullcontext():
            logits = self.model(x.contiguous(memory_format=torch.channels_last))
        loss = soft_cross_entropy(logits, smooth(target, self.recipe.label_smoothing))
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(pixels))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Move the average one step."""
        update_average(self.average, self.model, average_decay(self.global_step, self.recipe.average_decay))

    def on_validation_epoch_start(self) -> None:
        """Evaluate the average in evaluation mode."""
        self.average.eval()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Accuracies of the moving average, in float32 whatever the training's precision."""
        pixels, target = batch
        with torch.autocast(self.device.type, enabled=False):
            x = (pixels.float() / 255 - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)
            logits = self.average(x.contiguous(memory_format=torch.channels_last))
        self.metrics.update(logits, target.argmax(1))
        self.log("valid_loss", soft_cross_entropy(logits, target), batch_size=len(pixels))

    def on_validation_epoch_end(self) -> None:
        """Log the pass's figures."""
        self.log_dict(self.metrics.compute(), prog_bar=True)
        self.metrics.reset()

    def configure_optimizers(self) -> Any:
        """AdamW with linear warm-up and cosine, per step."""
        recipe = self.recipe
        optimizer = torch.optim.AdamW(decay_groups(self.model, recipe.weight_decay), lr=recipe.learning_rate)
        total, warmup = recipe.epochs * self.steps_per_epoch, round(recipe.warmup_epochs * self.steps_per_epoch)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, total, warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def load_body(model: nn.Module, weights: nn.Module) -> list[str]:
    """Copy every tensor of `weights` that fits into `model`; returns the names that did not fit (a new head's)."""
    own, given = model.state_dict(), weights.state_dict()
    fitting = {name: tensor for name, tensor in given.items() if name in own and own[name].shape == tensor.shape}
    model.load_state_dict({**own, **fitting})
    return sorted(own.keys() - fitting.keys())
