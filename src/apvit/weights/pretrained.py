"""Starting weights from local files: a face-recognition IR-50 for the stem, timm's legacy ViT-S for the transformer.

The official APViT and TransFER start from these two; neither is distributed here, as their terms are their owners'.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from apvit.nn import HybridModel, resize_positions

from .checkpoints import CheckpointError, ImportReport, fit, read_state_dict
from .official import official_name

IR50_UNITS = (3, 4, 14, 3)
"""Units of IR-50's four stages, numbered through from body.0 to body.23."""

VIT_HEADS = 8
"""Heads of timm's legacy vit_small_p16_224, which leave no trace in its weights."""

VIT_PATCHES = 14 * 14
"""Its patches, whose positions stand in pos_embed after the class token's."""

_IR50 = "a face-recognition IR-50 (input_layer.* and body.0.* to body.23.*, as face.evoLVe stores it)"
_VIT = "timm's legacy vit_small_p16_224 (cls_token, pos_embed, blocks.0.* to blocks.7.*, norm.*, no bias of qkv)"
_VIT_COMPUTES = re.compile(r"(blocks|norm)\.")


def load_ir50(path: str | Path, model: HybridModel) -> ImportReport:
    """Copy the first stages of a face-recognition IR-50 into the stem of `model`; returns what became of its keys.

    path: .pth (opened with `weights_only=True`) or .safetensors; {"state_dict": ...} and "module." are accepted. The
    embedding (output_layer.*) and the stages beyond the model's, for apvit_base body.21 to body.23, stay unused.
    Raises CheckpointError, before anything is copied, for another file and for a model whose stem is no IR-50 of those
    widths. The network was trained on faces with mean and deviation 0.5, while the official recipe gives it ImageNet's.
    """
    stages = [units for _, units in model.config.stem_stages]
    if tuple(stages) != IR50_UNITS[: len(stages)]:
        raise CheckpointError(
            f"the model's stem has stages of {_listed(stages)} units and cannot start from IR-50, whose stages have "
            f"{_listed(IR50_UNITS)}"
        )
    found = read_state_dict(path, _IR50)
    if not any(key.startswith("body.0.") for key in found):
        raise CheckpointError(f"{path} is not {_IR50}: none of its {len(found)} tensors is called body.0.*")
    own = model.state_dict()
    names = {ir50_name(name): name for name in own if name.startswith("stem.")}
    used = "|".join(map(str, range(sum(stages))))
    tensors, report = fit(
        found,
        {key: own[name] for key, name in names.items()},
        computes=re.compile(rf"(input_layer|body\.({used}))\."),
        subject=str(path),
    )
    _copy(own, {names[key]: tensor for key, tensor in tensors.items()})
    return report


def load_vit_small(path: str | Path, model: HybridModel) -> ImportReport:
    """Copy timm's legacy vit_small_p16_224 into the transformer of `model`; returns what became of its keys.

    path: as for `load_ir50`. Blocks, final norm, class token and both position embeddings come from the file, where
    the class token's position is the first of pos_embed and the others are a 14 x 14 grid, resized where the model has
    another; its patch_embed and head stay unused, and the model keeps its projection and head. Raises CheckpointError,
    before anything is copied, for another file and for a model of another width, depth or number of heads.
    The file was trained with logits scaled by 768^-0.5. As in the official code they are scaled by the usual
    head_dim^-0.5 here, so that attention starts sharper than it was.
    """
    if model.config.num_heads != VIT_HEADS:
        raise CheckpointError(
            f"the model has {model.config.num_heads} heads and cannot start from {_VIT}, which has {VIT_HEADS}"
        )
    found = read_state_dict(path, _VIT)
    if not any(key.startswith("blocks.0.") for key in found):
        raise CheckpointError(f"{path} is not {_VIT}: none of its {len(found)} tensors is called blocks.0.*")
    own = model.state_dict()
    names = {official_name(name).removeprefix("vit."): name for name in own if name.startswith(("blocks.", "norm."))}
    names["cls_token"] = "class_token"
    wanted = {key: own[name] for key, name in names.items()}
    wanted["pos_embed"] = torch.empty(1, 1 + VIT_PATCHES, model.config.dim, device="meta")
    tensors, report = fit(found, wanted, computes=_VIT_COMPUTES, subject=str(path))
    positions = tensors.pop("pos_embed")
    _copy(
        own,
        {names[key]: tensor for key, tensor in tensors.items()}
        | {
            "class_position": positions[:, :1],
            "patch_position": resize_positions(positions[:, 1:], model.config.grid),
        },
    )
    return report


def ir50_name(name: str) -> str:
    """IR-50's name of one of the stem's parameters or buffers.

    >>> ir50_name("stem.stages.1.0.shortcut.conv.weight")
    'body.3.shortcut_layer.0.weight'
    """
    key = official_name(name).removeprefix("extractor.")
    if not key.startswith("body."):
        return key
    _, stage, unit, rest = key.split(".", 3)
    first = (0, *accumulate(IR50_UNITS))[int(stage)]
    return f"body.{first + int(unit)}.{rest}"


def _copy(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Into the model whose state dict `own` is; its tensors share the model's memory."""
    for name, tensor in tensors.items():
        own[name].copy_(tensor)


def _listed(units: tuple[int, ...] | list[int]) -> str:
    return ", ".join(map(str, units))
