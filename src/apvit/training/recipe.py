"""A training run in one YAML file: every field has a name here, a default, and an override on the command line."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from apvit.data.augmentation import Augmentation
from apvit.data.paper_augmentation import PaperAugmentation
from apvit.files import nearest, sentence
from apvit.nn import make_config


@dataclass(frozen=True)
class Recipe:
    """All that decides a run; `apvit train --config FILE --batch-size 32` overrides a field of the file.

    Raises ValueError for values that are out of range or do not fit together.
    """

    data: str = "prepared/ferplus"
    """Folder of prepared splits (train.parquet, valid.parquet, ...), or anything `apvit data prepare` understands."""
    output: str = "runs/apvit_tiny"
    """Run folder."""
    select: Literal["valid", "test"] = "valid"
    """Split that the best epoch is selected on. `valid`: clean; a test split is read once, at the end. `test`: train
    on train and valid and select on test, as the literature does."""
    select_by: Literal["accuracy", "mean_class_accuracy", "macro_f1"] = "accuracy"
    """Figure by which the best epoch is chosen: accuracy, mean_class_accuracy or macro_f1."""

    architecture: str = "apvit_tiny"
    """Name that `apvit models` lists."""
    model: dict[str, Any] = field(default_factory=dict)
    """Hyper-parameters that differ from the architecture's."""
    init: str | None = None
    """Weights to start from, of the same body. The classifier's rows go by the expressions' names; expressions that
    the weights do not know start new."""
    stem_weights: str | None = None
    """File of a face-recognition IR-50 to start the stem from."""
    transformer_weights: str | None = None
    """File of timm's legacy ViT-S (vit_small_p16_224) to start the transformer from."""
    normalise: Literal["data", "imagenet"] = "data"
    """Mean and deviation of the input: measured on the training faces, or ImageNet's (RGB)."""

    target: Literal["label", "votes", "majority", "multi-target", "probability", "crossentropy"] = "votes"
    """What a face teaches. `label`: its label. `votes`: the annotators' distribution, every face. FER+'s four modes:
    `majority`; `multi-target` (any expression with 30 % of the votes is right); `probability` (one label drawn per
    face and epoch); `crossentropy` (the distribution of the agreed votes)."""
    target_power: float = 1.0
    """Power that a target's probabilities are raised to before they sum to 1 again: above 1 sharpens votes."""
    teachers: list[str] = field(default_factory=list)
    """Weights whose mean probabilities for the face and its mirror image are mixed into its target (distillation)."""
    teacher_share: float = 0.5
    """Share of the target that the teachers' probabilities make."""
    label_smoothing: float = 0.0
    """Share of every target that is spread evenly over the classes."""
    sampler: Literal["none", "ceil-sqrt", "balanced"] = "none"
    """How often a face comes in an epoch. `none`: once. `ceil-sqrt`: the paper's, ceil(max(1, sqrt(0.15 / frequency of
    its class))) times. `balanced`: all classes equally often, in an epoch as long as without."""

    augmentation_policy: Literal["modern", "paper"] = "modern"
    """Which of the two groups of fields below is used: `augmentation` or `paper_augmentation`."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    paper_augmentation: PaperAugmentation = field(default_factory=PaperAugmentation)

    epochs: int = 30
    """Passes over the training faces."""
    batch_size: int = 64
    """Faces of one optimizer step, over all processes and accumulated parts together."""
    accumulate: int = 1
    """Parts that a process computes its share of a batch in, where it does not fit in memory at once."""
    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    """Optimizer; `sgd` decays weights through the gradient, `adamw` apart from it. `muon` orthogonalizes the steps of
    the inner matrices and convolutions, and takes learning rate and decay of the size of AdamW's."""
    learning_rate: float = 2e-3
    """Highest learning rate."""
    momentum: float = 0.9
    """Momentum of sgd."""
    weight_decay: float = 0.05
    """Strength of weight decay."""
    decay: Literal["matrices", "intended", "all"] = "matrices"
    """What decays. `matrices`: matrices and convolutions. `intended`: all but class token and positions, as the
    official configuration means. `all`: everything, as in effect there."""
    warmup_epochs: float = 1.0
    """Epochs of linear rise; then half a cosine falls to zero."""
    schedule_per: Literal["step", "epoch"] = "step"
    """How often the learning rate changes; the paper's changes per epoch."""
    clip_norm: float = 1.0
    """Largest L2 norm of the gradient; 0 switches clipping off."""
    average_decay: float = 0.998
    """Decay per step of the moving average of the weights, which is what is evaluated and saved; 0: no average."""

    seed: int = 0
    """Seed of initialization, order and augmentation."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Arithmetic of the training step; evaluation is always in 32 bits."""
    compile: bool = False
    """Compile the training step with torch.compile: minutes to start, then faster."""
    device: str = "auto"
    """Where to train: auto, cpu, cuda, cuda:1 or mps; on several GPUs or machines through torchrun."""
    memory_limit: float = 8.0
    """Decoded faces above this many GB go to a memory-mapped file in the run folder."""
    resume: bool = False
    """Go on from the run folder's last epoch."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "target_power"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("weight_decay", "warmup_epochs", "clip_norm", "memory_limit", "seed"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("label_smoothing", "teacher_share", "average_decay", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.init is not None and (self.stem_weights or self.transformer_weights):
            raise ValueError("init fills the whole body: give it without stem_weights and transformer_weights")
        if self.teachers and self.target in ("probability", "multi-target"):
            raise ValueError(f"a teacher's probabilities cannot be mixed into target {self.target!r}: take 'votes'")
        if self.teachers and self.augmentation_policy == "paper":
            raise ValueError("a teacher reads faces in the network's size, which augmentation_policy 'paper' does not")
        if self.target == "multi-target" and (self.label_smoothing or self.target_power != 1):
            raise ValueError(
                f"target 'multi-target' has neither label_smoothing nor target_power (got {self.label_smoothing} and "
                f"{self.target_power}): leave them at 0 and 1"
            )
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", self.device):
            raise ValueError(f"unknown device {self.device!r}; known are auto, cpu, cuda, cuda:1 ... and mps")
        make_config(self.architecture, **self.model)


def read_fields(path: str | Path) -> dict[str, Any]:
    """The fields that a YAML file gives, with values that are checked one by one, not together.

    Raises ValueError, with the file's name, for what is no YAML, for an unknown field and for a value of the wrong
    type; OSError for a file that cannot be read.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8-sig")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a YAML file: {sentence(error)}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold fields of a recipe, such as `epochs: 30`")
    if values.get("seeds", 0) is None:  # as `apvit train --print_config` once printed it
        del values["seeds"]
    if values.get("device") == "gpu":
        values["device"] = "cuda"
        print(f"warning: {path}: device gpu is now called cuda", file=sys.stderr)
    try:
        _check_names(Recipe, values)
        _validated(values, together=False)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return values


def make_recipe(values: Mapping[str, Any]) -> Recipe:
    """The recipe with the fields in `values`, those of a group in a dictionary of their own; texts become numbers.

    Raises ValueError for an unknown field, a value of the wrong type, and what `Recipe` refuses.
    """
    _check_names(Recipe, values)
    recipe = _validated(values)
    assert recipe is not None
    return recipe


def merge(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `changes`; a dictionary in both is merged too."""
    merged = dict(values)
    for name, value in changes.items():
        inner = merged.get(name)
        merged[name] = merge(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return merged


def plain(value: Any) -> Any:
    """A recipe, or a value in it, of dictionaries and lists only, for YAML and JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _check_names(kind: type[Any], values: Mapping[str, Any], group: str = "") -> None:
    types = get_type_hints(kind)
    known = [each.name for each in fields(kind)]
    for name, value in values.items():
        if name not in known:
            meant = nearest(str(name), known)
            hint = f"did you mean {group}{meant}?" if meant else f"known are {', '.join(known)}"
            raise ValueError(f"unknown field {group}{name}; {hint}")
        if is_dataclass(types[name]) and isinstance(value, Mapping):
            _check_names(types[name], value, f"{group}{name}.")


def _validated(values: Mapping[str, Any], *, together: bool = True) -> Recipe | None:
    """The recipe; without `together`, None where each value is right and they do not fit together."""
    try:
        return TypeAdapter(Recipe).validate_python(dict(values))
    except ValidationError as error:
        wrong = error.errors()[0]
    if wrong["type"] == "value_error":  # raised by a dataclass, after all types were right
        if together:
            raise wrong["ctx"]["error"]
        return None
    name = ".".join(part for part in wrong["loc"] if isinstance(part, str))
    # pydantic says "Input should be a valid integer, unable to parse string as an integer"
    uneven = wrong["type"] in ("missing", "too_long")
    rule = "has the wrong number of entries" if uneven else wrong["msg"].removeprefix("Input ")
    raise ValueError(f"{name} {re.sub(', (unable|got) .*', '', rule)}, got {wrong['input']!r}")
