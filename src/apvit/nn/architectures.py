"""The named architectures, and the one way to make a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .model import APViT, APViTConfig

ARCHITECTURES: dict[str, APViTConfig] = {
    "apvit_base": APViTConfig(),  # the paper's model, exact: 65.2 M parameters, 12.65 GMAC
    "apvit_tiny": APViTConfig(  # bundled default: 1.23 M parameters, 0.229 GMAC
        image_size=48,
        in_channels=1,
        num_classes=8,
        stem_width=32,
        stem_stages=((48, 2), (96, 3)),
        dim=128,
        depth=4,
        num_heads=4,
        patch_keep=118,
        token_keep=(1, 1, 0.9, 0.9),
    ),
}


def list_architectures() -> list[str]:
    """Names that `create_model` knows."""
    return list(ARCHITECTURES)


def create_model(name: str, **overrides: Any) -> APViT:
    """A freshly initialised model of the architecture `name`, with any field of `APViTConfig` overridden.

    >>> model = create_model("apvit_base", num_classes=8, patch_keep=None, token_keep=None)

    An int is a count, a float a rate (`int(N * rate)`), None switches that pooling off. Raises ValueError for an
    unknown name or field, and for values that do not fit together.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {name!r}; known are {', '.join(ARCHITECTURES)}")
    try:
        config = replace(ARCHITECTURES[name], **overrides)
    except TypeError as error:
        raise ValueError(f"cannot make {name}: {error}") from error
    return APViT(config)
