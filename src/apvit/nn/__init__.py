"""The models: attentive pooling, the IR stem, pooling blocks, APViT, TransFER. Needs torch and nothing of ours."""

from .architectures import ARCHITECTURES, build_model, create_model, list_architectures, make_config, read_config
from .cost import Cost, count_macs
from .hybrid import HybridConfig, HybridModel, Trace
from .model import APViT, APViTConfig
from .pooling import (
    AttentivePatchPooling,
    AttentiveTokenPooling,
    attentive_patch_pooling,
    attentive_token_pooling,
    keep_count,
)
from .transfer import TransFER, TransFERConfig
from .transformer import resize_positions

__all__ = [
    "ARCHITECTURES",
    "APViT",
    "APViTConfig",
    "AttentivePatchPooling",
    "AttentiveTokenPooling",
    "Cost",
    "HybridConfig",
    "HybridModel",
    "Trace",
    "TransFER",
    "TransFERConfig",
    "attentive_patch_pooling",
    "attentive_token_pooling",
    "build_model",
    "count_macs",
    "create_model",
    "keep_count",
    "list_architectures",
    "make_config",
    "read_config",
    "resize_positions",
]
