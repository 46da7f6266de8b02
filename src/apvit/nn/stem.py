"""The IR stem: the first stages of the face-recognition network IR-50 (ArcFace's improved residual units)."""

from __future__ import annotations

from torch import Tensor, nn


class ConvNorm(nn.Module):
    """1x1 convolution and BatchNorm: the shortcut where the number of channels changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


class IRUnit(nn.Module):
    """Improved residual unit: [B, in, H, W] -> [B, out, H/stride, W/stride]; nothing follows the sum.

    BN, Conv3x3, PReLU, Conv3x3 with the stride, BN, beside plain subsampling (or a 1x1 convolution where the widths
    differ).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False)
        self.act = nn.PReLU(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module
        if in_channels == out_channels:
            self.shortcut = nn.MaxPool2d(1, stride)
        else:
            self.shortcut = ConvNorm(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm2(self.conv2(self.act(self.conv1(self.norm1(x))))) + self.shortcut(x)
        return y


class InputLayer(nn.Module):
    """Conv3x3 stride 1, BN, PReLU: [B, C, H, W] -> [B, width, H, W]."""

    def __init__(self, in_channels: int, width: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.norm(self.conv(x)))
        return y


class IRStem(nn.Module):
    """[B, C, H, W] -> [B, channels, H / 2^stages, W / 2^stages].

    stages: (channels, units) per stage; the first unit of every stage has stride 2 (also the first stage's).
    Initialised as the official code does: Xavier-uniform convolutions, PReLU slopes 0.25.
    """

    def __init__(self, in_channels: int, width: int, stages: tuple[tuple[int, int], ...]):
        super().__init__()
        self.input = InputLayer(in_channels, width)
        self.stages = nn.ModuleList()
        for channels, units in stages:
            stage = [IRUnit(width if u == 0 else channels, channels, 2 if u == 0 else 1) for u in range(units)]
            self.stages.append(nn.Sequential(*stage))
            width = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.input(x)
        for stage in self.stages:
            x = stage(x)
        return x
