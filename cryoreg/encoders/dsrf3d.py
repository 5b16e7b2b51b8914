"""DSRF3D_v2 of Che et al. 2018 (Mach. Vis. Appl.), and the plain stacks of convolutions that CB3D shares with it."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from cryoreg.contracts import Encoder


class DSRF3D(Encoder):
    """Conv 3³ (32, 32), max-pool 2, conv 3³ (64, 64), max-pool 2, conv 3³ (128, 128), global average; ReLU throughout.

    Features: 128. Any box from 4 voxels up, the smallest that two pools leave a voxel of.
    """

    num_features = 128

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *conv_relu(1, 32, 32), nn.MaxPool3d(2), *conv_relu(32, 64, 64), nn.MaxPool3d(2), *conv_relu(64, 128, 128)
        )
        self.apply(initialise)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to (B, 128, D // 4, H // 4, W // 4)."""
        return self.layers(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to features (B, 128)."""
        return self.forward_features(x).mean((2, 3, 4))


def conv_relu(*channels: int) -> list[nn.Module]:
    """Return a 3³ convolution (same size) and a ReLU for each step in ``channels``."""
    return [layer for pair in pairwise(channels) for layer in (nn.Conv3d(*pair, 3, padding=1), nn.ReLU())]


def initialise(layer: nn.Module) -> None:
    """Start weights Kaiming-normal and biases at zero (He et al. 2015, arXiv 1502.01852), for ``Module.apply``.

    With the fan-in, activations keep their scale through a deep network without normalisation.
    """
    if isinstance(layer, nn.Conv3d | nn.Linear):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
