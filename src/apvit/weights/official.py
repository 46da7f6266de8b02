"""Import of checkpoints of the official PyTorch code (youqingxiaozhua/APViT).

Such a checkpoint is a state dict under the names of mmcls' PoolingVitClassifier with an IRSE stem and a PoolingViT. The
number of heads and the two keep schedules leave no trace in it, so the caller says them; the rest follows from shapes.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from apvit.expressions import get_label_space
from apvit.faces.alignment import TEMPLATES
from apvit.files import sha256
from apvit.nn import ARCHITECTURES, APViT, APViTConfig
from apvit.nn.model import PAPER_TOKEN_KEEP
from apvit.runtimes import torch_alone

from .card import Card, Preprocessing
from .checkpoints import CheckpointError, ImportReport, fit, name_of, read_state_dict
from .file import save_weights

LABEL_SPACES_BY_CLASSES = {7: "apvit-official-7", 8: "apvit-official-8"}

# Our module -> the official one. Inside a stem unit, the input layer and a block:
_UNIT = {
    "norm1": "res_layer.0",
    "conv1": "res_layer.1",
    "act": "res_layer.2",
    "conv2": "res_layer.3",
    "norm2": "res_layer.4",
    "shortcut.conv": "shortcut_layer.0",
    "shortcut.norm": "shortcut_layer.1",
}
_INPUT = {"conv": "0", "norm": "1", "act": "2"}
_BLOCK = {
    "norm1": "norm1",
    "attention.qkv": "attn.qkv",
    "attention.project": "attn.proj",
    "norm2": "norm2",
    "mlp.expand": "mlp.fc1",
    "mlp.contract": "mlp.fc2",
}
_REST = {"project": "vit.projs.0", "norm": "vit.norm", "head": "head.fc"}
_TOKENS = {
    "class_token": "vit.cls_token",
    "class_position": "vit.cls_pos_embed",
    "patch_position": "vit.patch_pos_embed",
}

# Keys that take part in the official forward pass. Where one of these has no place here (a bias of qkv, squeeze and
# excitation, a second projection, a neck), the checkpoint is of another function; everything else may be a leftover.
_COMPUTES = re.compile(r"(extractor\.(input_layer|body\.\d\.\d+)|vit|convert|neck|head\.fc\d*)\.")
# A stage has one digit: body.21 and above are units of the backbone's fourth stage under their flat numbers.
_STAGES = r"extractor\.body\.(\d)\.\d+\..*"


def from_official(
    path_or_state_dict: str | Path | Mapping[str, Any],
    *,
    num_heads: int = 8,
    patch_keep: int | float | None = 160,
    token_keep: tuple[int | float, ...] | None = PAPER_TOKEN_KEEP,
) -> APViT:
    """The model of an official checkpoint, float32 and in evaluation mode.

    path_or_state_dict: a .pth file (opened with `weights_only=True`, so that no code in it runs), a .safetensors file
    under the official names, or a state dict; {"state_dict": ...} and a "module." prefix are accepted. Widths, depths,
    classes and input size come from the shapes.

    Unused and missing keys are one warning. Unused are leftovers such as the face-recognition backbone's `output_layer`
    and fourth stage. Missing may be the head, which is then zero as at the start of training, and BatchNorm's batch
    counters, which no result depends on. Without any other tensor the model would silently compute noise, which raises
    CheckpointError; so do contradicting shapes, NaN, and whatever is no official checkpoint. ValueError where
    `num_heads` or a keep does not fit the model, e.g. a `token_keep` of another length than there are blocks.
    """
    model, report = read_official(path_or_state_dict, num_heads=num_heads, patch_keep=patch_keep, token_keep=token_keep)
    if report.unused or report.missing:
        warnings.warn(
            f"official checkpoint: {report}" + ("; the head starts from zero" if report.missing_head else ""),
            stacklevel=2,
        )
    return model


@torch_alone("cpu", CheckpointError)
def read_official(
    path_or_state_dict: str | Path | Mapping[str, Any],
    *,
    num_heads: int = 8,
    patch_keep: int | float | None = 160,
    token_keep: tuple[int | float, ...] | None = PAPER_TOKEN_KEEP,
) -> tuple[APViT, ImportReport]:
    """As `from_official`, with a report instead of the warning."""
    found = _state_dict(path_or_state_dict)
    config = replace(_infer(found), num_heads=num_heads, patch_keep=patch_keep, token_keep=token_keep)
    with torch.device("meta"):
        model = APViT(config).float()  # whatever the default dtype is
    own = model.state_dict()
    tensors, report = fit(
        found,
        {official_name(name): tensor for name, tensor in own.items()},
        computes=_COMPUTES,
        subject=name_of(path_or_state_dict),
        optional=("head.",),
    )
    filled = {
        name: tensors[key]
        if (key := official_name(name)) in tensors
        else torch.zeros(like.shape, dtype=like.dtype, device="cpu")
        for name, like in own.items()
    }
    model.load_state_dict(filled, assign=True)
    return model.eval(), report


def convert_official(
    source: str | Path,
    destination: str | Path,
    *,
    half: bool = False,
    labels: str | None = None,
    num_heads: int = 8,
    patch_keep: int | float | None = 160,
    token_keep: tuple[int | float, ...] | None = PAPER_TOKEN_KEEP,
) -> tuple[Card, ImportReport]:
    """Write an official checkpoint file in our format, float16 with `half`; returns the card and what was used.

    The card states the official preprocessing and, unless `labels` names another label space, the official label order.
    Raises as `from_official`; also CheckpointError for a missing head and for a number of classes that no official
    label order has, CardError for labels or preprocessing that do not fit.
    """
    source, destination = Path(source), Path(destination)
    if destination.exists() and source.exists() and destination.samefile(source):
        raise CheckpointError(f"{destination} is the checkpoint itself; name another output")
    model, report = read_official(source, num_heads=num_heads, patch_keep=patch_keep, token_keep=token_keep)
    config = model.config
    if report.missing_head:
        raise CheckpointError(
            f"{source} has no {' and no '.join(report.missing_head)}, so it cannot tell expressions; "
            f"load it with apvit.from_official and train it"
        )
    space = labels or LABEL_SPACES_BY_CLASSES.get(config.num_classes)
    if space is None:
        raise CheckpointError(
            f"{source} has {config.num_classes} classes instead of 7 or 8; name their order (labels='...')"
        )
    card = Card(
        architecture=_architecture(config),
        parameters=config.to_dict(),
        labels=get_label_space(space),
        # The official test pipeline: realigned 224 px faces, resized to 112, RGB, ImageNet's mean and deviation.
        preprocessing=Preprocessing(
            TEMPLATES["arcface-112"], config.image_size, "rgb", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        ),
        provenance={
            "converted_from": source.name,
            "sha256": sha256(source),
            "official_code": "https://github.com/youqingxiaozhua/APViT",
            "assumed": "the checkpoint says neither heads, keep schedules, label order, alignment nor normalisation; "
            "they are the official code's, or were named by who converted it",
        },
        metrics=(),
        licence="see the source of the checkpoint; backbones trained on MS1M are for non-commercial use only",
        intended_use="research on facial expression recognition; its accuracy was not measured after conversion",
        description="converted from an official APViT checkpoint",
    )
    save_weights(model, card, destination, dtype=torch.float16 if half else None)
    return card, report


def official_name(name: str) -> str:
    """The official name of one of our parameters or buffers.

    >>> official_name("blocks.3.attention.project.bias")
    'vit.blocks.3.attn.proj.bias'
    """
    if name in _TOKENS:
        return _TOKENS[name]
    module, _, leaf = name.rpartition(".")
    part = module.split(".")
    if module.startswith("stem.input."):
        return f"extractor.input_layer.{_INPUT[part[2]]}.{leaf}"
    if module.startswith("stem.stages."):
        return f"extractor.body.{part[2]}.{part[3]}.{_UNIT['.'.join(part[4:])]}.{leaf}"
    if module.startswith("blocks."):
        return f"vit.blocks.{part[1]}.{_BLOCK['.'.join(part[2:])]}.{leaf}"
    return f"{_REST[module]}.{leaf}"


def _state_dict(source: str | Path | Mapping[str, Any]) -> dict[str, Tensor]:
    """Official key -> tensor, without wrappers and prefix."""
    found = read_state_dict(source, "an official APViT checkpoint")
    if not any(key.startswith("vit.blocks.") for key in found):
        backbone = any(key.startswith("body.") for key in found)
        raise CheckpointError(
            f"{name_of(source)} is not an official APViT checkpoint: none of its {len(found)} tensors is called "
            "vit.blocks.*" + (" (it looks like a face-recognition backbone alone)" if backbone else "")
        )
    return found


def _infer(found: Mapping[str, Tensor]) -> APViTConfig:
    """The configuration that shapes tell; pooling off and one head, which they do not tell."""

    def shape(key: str, dimensions: int) -> torch.Size:
        if key not in found:
            raise CheckpointError(f"the checkpoint lacks {key}, without which the model computes noise")
        if found[key].ndim != dimensions or not all(found[key].shape):
            raise CheckpointError(
                f"the checkpoint's {key} must have {dimensions} dimensions, none zero, got {list(found[key].shape)}"
            )
        return found[key].shape

    width, channels = shape("extractor.input_layer.0.weight", 4)[:2]
    stages = []
    for stage in range(_count(found, _STAGES)):
        units = _count(found, rf"extractor\.body\.{stage}\.(\d+)\..*")
        stages.append((shape(f"extractor.body.{stage}.0.res_layer.3.weight", 4)[0], units))
    patches, dim = shape("vit.patch_pos_embed", 3)[1:]
    grid = math.isqrt(patches)
    if grid * grid != patches:
        raise CheckpointError(f"the checkpoint's vit.patch_pos_embed has {patches} patches, not a square grid")
    hidden = shape("vit.blocks.0.mlp.fc1.weight", 2)[0]
    ratio = hidden / dim
    return APViTConfig(
        image_size=grid * 2 ** len(stages),
        in_channels=channels,
        num_classes=shape("head.fc.weight", 2)[0] if "head.fc.weight" in found else 7,
        stem_width=width,
        stem_stages=tuple(stages),
        dim=dim,
        depth=_count(found, r"vit\.blocks\.(\d+)\..*"),
        num_heads=1,
        # int(dim * ratio) must give back the hidden width, which rounding can leave one short.
        mlp_ratio=ratio if int(dim * ratio) == hidden else math.nextafter(ratio, math.inf),
        patch_keep=None,
        token_keep=None,
    )


def _count(found: Mapping[str, Tensor], pattern: str) -> int:
    """How many different numbers stand at the pattern's group; they must be 0, 1, 2, ..."""
    numbers = sorted({int(match[1]) for key in found if (match := re.fullmatch(pattern, key))})
    if not numbers or numbers != list(range(len(numbers))):
        what = pattern.replace("\\", "").split("(")[0]
        raise CheckpointError(f"the checkpoint's {what}* must be numbered 0, 1, 2, ..., got {numbers[:30]}")
    return len(numbers)


def _architecture(config: APViTConfig) -> str:
    base = replace(ARCHITECTURES["apvit_base"], num_classes=config.num_classes)
    return "apvit_base" if config == base else "custom"
