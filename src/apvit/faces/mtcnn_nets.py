"""MTCNN's three networks, and their weights from the package `mtcnn`. Imports torch: imported only when one is made.

Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016. The weights
are those of the package `mtcnn` 1.0.0 (MIT), whose own code needs TensorFlow and is therefore never imported. They are
pickles, so a file is opened only after its SHA-256 was found to be the known one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from apvit.faces.detection import DetectorError

PACKAGE = "mtcnn"
SHA256 = {
    "pnet": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}

Array = npt.NDArray[np.float32]


def find_weights() -> Path:
    """The folder of the installed package's weights; DetectorError where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)  # importing the package would fail without TensorFlow
    if spec is None or not spec.submodule_search_locations:
        raise DetectorError("the detector mtcnn needs its networks' weights; run: pip install 'mtcnn==1.0.0'")
    return Path(spec.submodule_search_locations[0]) / "assets" / "weights"


def load_arrays(folder: Path, net: str) -> list[Array]:
    """The float32 arrays of `net` ("pnet", "rnet" or "onet"), in layer order.

    Raises DetectorError for a missing or foreign file, before anything in it is unpickled.
    """
    import joblib  # type: ignore[import-untyped]

    path = folder / f"{net}.lz4"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DetectorError(
            f"MTCNN's weights {str(path)!r} cannot be read; run: pip install --force-reinstall 'mtcnn==1.0.0'"
        ) from error
    if hashlib.sha256(content).hexdigest() != SHA256[net]:
        raise DetectorError(
            f"MTCNN's weights {str(path)!r} are not those of mtcnn 1.0.0 and were not opened; "
            "run: pip install --force-reinstall 'mtcnn==1.0.0'"
        )
    arrays: list[Array] = joblib.load(io.BytesIO(content))
    return arrays


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
    layer = nn.Conv2d(inputs, outputs, (height, width))
    return _filled(layer, np.transpose(weight, (3, 2, 0, 1)), bias)


def _dense(layers: Any) -> nn.Module:
    weight, bias = next(layers), next(layers)  # [in, out]
    return _filled(nn.Linear(*weight.shape), weight.T, bias)


def _filled(layer: nn.Conv2d | nn.Linear, weight: Array, bias: Array) -> nn.Module:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        assert layer.bias is not None
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


def _prelu(layers: Any) -> nn.Module:
    slopes = next(layers).reshape(-1)
    layer = nn.PReLU(len(slopes))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(slopes))
    return layer
