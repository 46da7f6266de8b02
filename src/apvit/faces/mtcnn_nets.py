"""MTCNN's three networks in torch, which imports it: imported only when one is made.

Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016. The same
networks without torch are in `mtcnn_graphs`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from apvit.faces.detection import SMALLER, DetectorError
from apvit.runtimes import torch_alone

Array = npt.NDArray[np.float32]


class TorchNet:
    """One network on a device, ready to be called. Raises DetectorError where torch fails."""

    def __init__(self, net: nn.Module, device: str) -> None:
        self._device = torch.device(device)
        self._net = net.eval().requires_grad_(False).to(self._device)

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> list[Array]:
        """The outputs for pixels uint8 [B, H, W, 3], normalised as in training; B may be 0."""
        with torch_alone(self._device, DetectorError, SMALLER), torch.inference_mode():
            x = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2)
            x = (x.float() - 127.5) / 128
            return [output.cpu().numpy() for output in self._net(x)]


class PNet(nn.Module):
    """The proposal net: a face score and a box correction for every 12 x 12 window, two pixels apart."""

    def __init__(self, arrays: list[Array]) -> None:
        super().__init__()
        layers = iter(arrays)
        self.features = nn.Sequential(
            _convolution(layers), _prelu(layers), _pool(2), _convolution(layers), _prelu(layers),
            _convolution(layers), _prelu(layers),
        )  # fmt: skip
        self.box = _convolution(layers)
        self.face = _convolution(layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, 3, H, W], H and W at least 12 -> scores [B, h, w] and boxes [B, 4, h, w]."""
        x = self.features(x)
        return _score(self.face(x)), self.box(x)


class RNet(nn.Module):
    """The refinement net: score and box correction of a 24 x 24 patch."""

    def __init__(self, arrays: list[Array]) -> None:
        super().__init__()
        layers = iter(arrays)
        self.features = nn.Sequential(
            _convolution(layers), _prelu(layers), _pool(3), _convolution(layers), _prelu(layers), _pool(3),
            _convolution(layers), _prelu(layers), _Columns(), _dense(layers), _prelu(layers),
        )  # fmt: skip
        self.box = _dense(layers)
        self.face = _dense(layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, 3, 24, 24] -> scores [B] and boxes [B, 4]."""
        x = self.features(x)
        return _score(self.face(x)), self.box(x)


class ONet(nn.Module):
    """The output net: score, box correction and landmarks of a 48 x 48 patch."""

    def __init__(self, arrays: list[Array]) -> None:
        super().__init__()
        layers = iter(arrays)
        self.features = nn.Sequential(
            _convolution(layers), _prelu(layers), _pool(3), _convolution(layers), _prelu(layers), _pool(3),
            _convolution(layers), _prelu(layers), _pool(2), _convolution(layers), _prelu(layers),
            _Columns(), _dense(layers), _prelu(layers),
        )  # fmt: skip
        self.box = _dense(layers)
        self.landmarks = _dense(layers)
        self.face = _dense(layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, 3, 48, 48] -> scores [B], boxes [B, 4] and landmarks [B, 10], five x and then five y."""
        x = self.features(x)
        return _score(self.face(x)), self.box(x), self.landmarks(x)


class _Columns(nn.Module):
    """Flattens [B, C, H, W] in the order W, H, C: the dense layers were trained on MATLAB's column-major patches."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 2, 1).flatten(1)


def _score(logits: Tensor) -> Tensor:
    """The probability of the second of two classes, "face": logits [B, 2, ...] -> [B, ...]."""
    return torch.sigmoid(logits[:, 1] - logits[:, 0])


def _pool(size: int) -> nn.Module:
    # TensorFlow's "same" padding of these layers adds a row and column at the end where one is needed; in the layers
    # trained with "valid" none is, so rounding up is right for all.
    return nn.MaxPool2d(size, stride=2, ceil_mode=True)


def _convolution(layers: Any) -> nn.Module:
    weight, bias = next(layers), next(layers)  # [h, w, in, out]
    height, width, inputs, outputs = weight.shape
    layer = nn.Conv2d(inputs, outputs, (height, width), dtype=torch.float32)
    return _filled(layer, np.transpose(weight, (3, 2, 0, 1)), bias)


def _dense(layers: Any) -> nn.Module:
    weight, bias = next(layers), next(layers)  # [in, out]
    inputs, outputs = weight.shape
    return _filled(nn.Linear(inputs, outputs, dtype=torch.float32), weight.T, bias)


def _filled(layer: nn.Conv2d | nn.Linear, weight: Array, bias: Array) -> nn.Module:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        assert layer.bias is not None
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


def _prelu(layers: Any) -> nn.Module:
    slopes = next(layers).reshape(-1)
    layer = nn.PReLU(len(slopes), dtype=torch.float32)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(slopes))
    return layer
