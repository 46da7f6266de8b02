"""The model: attentive pooling, the IR stem, pooling blocks, APViT. Needs torch and nothing of ours."""

from .architectures import ARCHITECTURES, create_model, list_architectures
from .cost import Cost, count_macs
from .model import APViT, APViTConfig, Trace
from .pooling import (
    AttentivePatchPooling,
    AttentiveTokenPooling,
    attentive_patch_pooling,
    attentive_token_pooling,
    keep_count,
)
from .transformer import resize_positions

__all__ = [
    "ARCHITECTURES",
    "APViT",
    "APViTConfig",
    "AttentivePatchPooling",
    "AttentiveTokenPooling",
    "Cost",
    "Trace",
    "attentive_patch_pooling",
    "attentive_token_pooling",
    "count_macs",
    "create_model",
    "keep_count",
    "list_architectures",
    "resize_positions",
]
