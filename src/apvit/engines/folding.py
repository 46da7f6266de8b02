"""The form of a network that engines run and export: the same function in fewer steps, exact but for rounding.

- A BatchNorm that follows a convolution goes into the convolution's weights and bias.
- The BatchNorm in front of a unit's first convolution, x -> s x + t, cannot: the convolution pads *after* it, so that a
  bias made of t would be wrong at the border. But s x + t = s (x + t/s), and s goes through the padding. So the maps
  between units are carried as x + t/s: s goes into the convolution's weights, and t/s comes from, and leaves through,
  the biases of the convolutions that write the map. Only the first unit keeps its BatchNorm, since between it and the
  convolution before it there is a PReLU, and so does a unit whose t/s is so much larger than x that adding it would
  cost digits.
- A max-pooling of one pixel is no pooling: with stride 1 nothing is done, with stride 2 every other pixel is read.
- In the last block one token asks. Its logits are q_h (W_h n_j) = (q_h W_h) n_j, and what it reads is
  sum_j a_hj (V_h n_j) = V_h sum_j (a_hj n_j): no token's key or value is ever made.
- torch's CPU convolution takes a slow path for a single small map; ours asks for the fast one.

What was looked at and gains nothing, or is not exact: projecting only the patches that APP keeps (the score is a sum
over the projected channels, so that all must be projected first); packing convolution weights for oneDNN ahead of time
(slower, its outputs leave the channels-last layout).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from apvit.nn import AttentiveTokenPooling, HybridModel, TransFER, attentive_token_pooling
from apvit.nn.stem import ConvNorm, IRStem, IRUnit
from apvit.nn.transfer import LocalCNN
from apvit.nn.transformer import PoolingBlock

LARGEST_SHIFT = 8.0
"""A map is carried shifted by at most so many times its own size (root mean square): at most 3 of 24 bits are lost."""


def fold(model: HybridModel) -> HybridModel:
    """Turn `model`, which is in evaluation mode, into the form above, in place; returns it.

    Its logits and trace stay the same within rounding, for any batch; its parameters do not, and it cannot be trained.
    """
    if model.training:
        raise ValueError("only a model in evaluation mode can be folded: call model.eval()")
    model.stem = FoldedStem(model.stem)  # type: ignore[assignment]
    if isinstance(model, TransFER):
        for cnn in model.local:
            _fold_local(cnn)  # type: ignore[arg-type]
    fold_blocks(model)
    return model.requires_grad_(False)


def fold_blocks(model: HybridModel) -> None:
    """The part of `fold` that is about the transformer blocks, which has no tensors of its own."""
    for block in model.blocks:
        if isinstance(block.pool, AttentiveTokenPooling):
            block.pool = FullPrecisionPooling(block.pool.count, block.pool.score)
    model.blocks[-1] = ClassBlock(model.blocks[-1])  # type: ignore[arg-type]


class Convolution(nn.Conv2d):
    """A convolution of given weights [out, in, k, k] and bias [out], padded so that stride 1 keeps the size."""

    def __init__(self, weight: Tensor, bias: Tensor | None, stride: int = 1):
        outputs, inputs, size, _ = weight.shape
        super().__init__(inputs, outputs, size, stride, size // 2, bias=bias is not None, device="meta")
        self.weight = nn.Parameter(weight)
        if bias is not None:
            self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, in, H, W] -> [B, out, H / stride, W / stride]."""
        if (
            x.shape[0] == 1
            and x.device.type == "cpu"
            and x.dtype == torch.float32
            and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
        ):
            # F.conv2d takes a slow kernel for one map of up to 20,480 values.
            around = (self.kernel_size[0] // 2,) * 2
            y: Tensor = torch.mkldnn_convolution(x, self.weight, self.bias, around, self.stride, self.dilation, 1)
            return y
        return super().forward(x)


class FoldedUnit(nn.Module):
    """An IRUnit folded: x [B, in, H, W], which may be carried shifted -> [B, out, H / stride, W / stride], as well."""

    def __init__(self, unit: IRUnit, entering: Tensor | None, leaving: Tensor | None):
        """entering, leaving: [in] and [out] float64, what the map is shifted by here and behind; None: not at all.

        A unit whose map enters unshifted keeps its first BatchNorm.
        """
        super().__init__()
        weight, bias = _after(unit.conv2, unit.norm2)
        if leaving is not None:
            bias = bias + leaving
        first = unit.conv1.weight.double()
        self.norm: nn.Module = nn.Identity()
        if entering is None:
            self.norm = unit.norm1
        else:
            first = first * _scale_and_shift(unit.norm1)[0].view(1, -1, 1, 1)
        self.stride = unit.conv2.stride[0]
        self.shortcut: Convolution | None = None
        if isinstance(unit.shortcut, ConvNorm):
            across, offset = _after(unit.shortcut.conv, unit.shortcut.norm)
            bias = bias + offset
            if entering is not None:
                bias = bias - across.flatten(1) @ entering
            self.shortcut = Convolution(across.float(), None, self.stride)
        elif entering is not None:
            bias = bias - entering
        self.conv1 = Convolution(first.float(), None)
        self.act = unit.act
        self.conv2 = Convolution(weight.float(), bias.float(), self.stride)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y: Tensor = self.conv2(self.act(self.conv1(self.norm(x))))
        if self.shortcut is not None:
            x = self.shortcut(x)
        elif self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return y.add_(x)  # in place: fresh memory for a map of many faces costs more than the sum


class FoldedStem(nn.Module):
    """An IRStem folded; see there."""

    def __init__(self, stem: IRStem):
        super().__init__()
        weight, bias = _after(stem.input.conv, stem.input.norm)
        self.input = nn.Sequential(Convolution(weight.float(), bias.float()), stem.input.act)
        units = [unit for unit in stem.stages.modules() if isinstance(unit, IRUnit)]
        shifts = [None, *(shift_of(unit.norm1) for unit in units[1:]), None]
        self.units = nn.Sequential(
            *(FoldedUnit(unit, *around) for unit, around in zip(units, pairwise(shifts), strict=True))
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, channels, H / 2^stages, W / 2^stages]."""
        y: Tensor = self.units(self.input(x))
        return y


class FullPrecisionPooling(AttentiveTokenPooling):
    """ATP with its scores in float32 under autocast too, which would round them until many tie."""

    def forward(self, query: Tensor, key: Tensor, scale: float) -> Tensor:
        """See `AttentiveTokenPooling`."""
        with _without_autocast(query):
            return super().forward(query, key, scale)


class ClassBlock(PoolingBlock):
    """A last block, which makes no keys and values; see the module and `PoolingBlock`. Attention is float32 always."""

    def __init__(self, block: PoolingBlock):
        nn.Module.__init__(self)
        self.head_drop = 0.0
        for name in ("norm1", "attention", "pool", "norm2", "mlp"):
            setattr(self, name, getattr(block, name))

    def forward(self, x: Tensor, class_only: bool = True, select: bool = True) -> tuple[Tensor, Tensor | None]:
        """x [B, 1 + N, D] -> (class token [B, 1, D], kept positions [B, keep] or None)."""
        heads = self.attention.num_heads
        with _without_autocast(x):
            n = self.norm1(x.float())
            dim = n.shape[-1]
            query, key, value = self.attention.qkv.weight.view(3, dim, dim).unbind(0)
            key, value = (weight.view(heads, dim // heads, dim) for weight in (key, value))
            asked = F.linear(n[:, 0], query).view(-1, heads, dim // heads).transpose(0, 1)  # [H, B, d]
            logits = (asked * self.attention.scale @ key).transpose(0, 1) @ n.transpose(1, 2)  # [B, H, 1 + N]
            read = (logits.softmax(-1) @ n).transpose(0, 1)  # [H, B, D]
            y = (read @ value.transpose(1, 2)).permute(1, 0, 2).flatten(1)  # [B, D]
        kept = None
        if self.pool is not None and select:
            kept = attentive_token_pooling(logits[:, :, 1:], self.pool.count, self.pool.score)
        first = x[:, :1] + self.attention.project(y).unsqueeze(1)
        return first + self.mlp(self.norm2(first)), kept


def shift_of(norm: nn.BatchNorm2d) -> Tensor | None:
    """t/s [C] float64 of a BatchNorm s x + t at inference; None where it is so large that adding it costs digits."""
    scale, shift = _scale_and_shift(norm)
    if not bool((scale != 0).all()):
        return None
    ratio = shift / scale
    assert norm.running_mean is not None
    assert norm.running_var is not None
    size = (norm.running_mean.double().square() + norm.running_var.double()).sqrt()
    return ratio if bool((ratio.abs() <= LARGEST_SHIFT * size).all()) else None


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """s and t [C] float64: at inference a BatchNorm is x -> s x + t."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def _after(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias (float64) of the convolution and the BatchNorm that follows it."""
    scale, shift = _scale_and_shift(norm)
    bias = shift if conv.bias is None else shift + scale * conv.bias.double()
    return conv.weight.double() * scale.view(-1, 1, 1, 1), bias


def _fold_local(cnn: LocalCNN) -> None:
    for conv, norm in (("conv1", "norm1"), ("conv2", "norm2")):
        weight, bias = _after(getattr(cnn, conv), getattr(cnn, norm))
        setattr(cnn, conv, Convolution(weight.float(), bias.float()))
        setattr(cnn, norm, nn.Identity())


def _without_autocast(x: Tensor) -> AbstractContextManager[None]:
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
