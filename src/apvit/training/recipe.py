"""A training run in one YAML file: every field has a name here, a default, and an override on the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from apvit.data.augmentation import Augmentation


@dataclass(frozen=True)
class Recipe:
    """All that decides a run; `apvit train --config FILE --field value` overrides any of it."""

    data: str = "prepared/ferplus"
    """Folder of prepared splits (train.parquet, valid.parquet), or anything `apvit data prepare` understands."""
    output: str = "runs/apvit_tiny"
    """Run folder."""
    architecture: str = "apvit_tiny"
    model: dict[str, Any] = field(default_factory=dict)
    """Hyper-parameters that differ from the architecture's."""
    init: str | None = None
    """Weights to start from: same body, new head where the labels differ."""
    target: Literal["votes", "label"] = "votes"
    """Learn the annotators' vote distribution, or the label."""
    label_smoothing: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_epochs: float = 1.0
    clip_norm: float = 1.0
    average_decay: float = 0.998
    """Decay of the moving average of the weights, per step."""
    seed: int = 0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    compile: bool = False
    """Compile the training step with torch.compile: minutes to start, then faster."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    resume: bool = False
    """Go on from the run folder's last checkpoint."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        for name in ("label_smoothing", "average_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
