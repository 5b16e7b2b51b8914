"""RB3D, the encoder of Gupta et al. 2022 (Front. Physiol. 13:957484), in the layout of the lab's code."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryoreg.contracts import Encoder
from cryoreg.encoders.spectrum import with_spectrum

Norm = Literal["none", "batch", "group"]

_STEM_VOXELS = 2 * 32**3
"""So many go through the stem at a time on a CPU, in whole volumes, so that its largest tensor stays in the cache."""


class RB3D(Encoder):
    """Conv 3³ 1→width, ReLU, max-pool (stride 2); four bottleneck blocks; average pool to 2³; optionally FC and ReLU.

    Features: 8·width, or ``hidden`` where that is not 0. Any box from 4 voxels up. Parameters are named as in the
    lab's checkpoints (``conv1``, ``bottleneck_layers.{0-3}.conv{1-4}``); the lab's ``fc`` is the classifier.
    Convolutions start Kaiming-normal (fan-out; He et al. 2015, arXiv 1502.01852) with zero biases.
    With ``fourier_channel``, the first convolution also sees the volume's log Fourier amplitudes.
    """

    def __init__(
        self, *, width: int, pool_kernel: Literal[2, 3], norm: Norm, hidden: int, fourier_channel: bool = False
    ) -> None:
        super().__init__()
        self.num_features = hidden or 8 * width
        self.fourier_channel = fourier_channel
        self.conv1 = nn.Conv3d(1 + fourier_channel, width, 3, padding=1)
        self.norm1 = normalisation(norm, width)
        self.maxpool = nn.MaxPool3d(pool_kernel, stride=2, padding=pool_kernel - 2)
        self.bottleneck_layers = nn.Sequential(*(Bottleneck(width, norm) for _ in range(4)))
        self.avgpool = nn.AdaptiveAvgPool3d(2)
        self.hidden = nn.Linear(8 * width, hidden) if hidden else None
        self.apply(_initialise)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to (B, width, D // 2, H // 2, W // 2) (rounded up where ``pool_kernel`` is 3)."""
        return self.bottleneck_layers(self._stem(with_spectrum(x) if self.fourier_channel else x))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to features (B, num_features)."""
        pooled = self.avgpool(self.forward_features(x)).flatten(1)
        return pooled if self.hidden is None else F.relu(self.hidden(pooled))

    def _stem(self, x: Tensor) -> Tensor:
        """Convolve, pool, then ReLU: the last two commute, and there is eight times less to do after the pool."""
        whole = self.training and isinstance(self.norm1, nn.BatchNorm3d)
        chunked = x.device.type == "cpu" and not whole and not torch.compiler.is_exporting()
        parts = x.split(max(1, _STEM_VOXELS // x.shape[2:].numel())) if chunked else [x]
        return torch.cat([self._pool(self.norm1(self.conv1(part))) for part in parts]).relu_()

    def _pool(self, x: Tensor) -> Tensor:
        # A maximum is exact in any precision, but autocast on a CPU would copy its largest tensor to float32.
        with torch.autocast(x.device.type, enabled=False):
            return self.maxpool(x)


class Bottleneck(nn.Module):
    """Two branches: ``conv1`` (3³) on the right; ``conv2`` (1³), ``conv3`` (3³), ``conv4`` (1³) on the left.

    The left half's channels come first, then the right's, then ReLU: numbering and order as in the lab's code.
    """

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        half = width // 2
        self.conv1 = nn.Conv3d(width, half, 3, padding=1)
        self.norm1 = normalisation(norm, half)
        self.conv2 = nn.Conv3d(width, half, 1)
        self.norm2 = normalisation(norm, half)
        self.conv3 = nn.Conv3d(half, width, 3, padding=1)
        self.norm3 = normalisation(norm, width)
        self.conv4 = nn.Conv3d(width, half, 1)
        self.norm4 = normalisation(norm, half)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, width, D, H, W) to the same shape."""
        right = self.norm1(self.conv1(x))
        left = F.relu(self.norm2(self.conv2(x)))
        left = F.relu(self.norm3(self.conv3(left)))
        left = self.norm4(self.conv4(left))
        return torch.cat((left, right), dim=1).relu_()


def normalisation(norm: Norm, channels: int) -> nn.Module:
    """Return the layer for ``channels``; group normalisation has eight groups where that divides them."""
    match norm:
        case "batch":
            return nn.BatchNorm3d(channels)
        case "group":
            return nn.GroupNorm(math.gcd(8, channels), channels)
        case _:
            return nn.Identity()


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv3d | nn.Linear):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
