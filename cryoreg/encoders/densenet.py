"""DenseNet in 3D: MONAI's DenseNet-121, with one input channel and without a classifier."""

from __future__ import annotations

import torch.nn.functional as F
from monai.networks.nets import DenseNet121
from torch import Tensor

from cryoreg.contracts import Encoder


class DenseNet3D(Encoder):
    """Conv 7³ and max-pool, both of stride 2; dense blocks of 6, 12, 24 and 16 layers, each but the last then halved.

    Features: 1024, the average of the rectified map. Any box from 29 voxels up, the smallest that leaves the last
    halving two voxels. Convolutions start Kaiming-normal (fan-in) and normalisations at one and zero, as MONAI does.
    """

    num_features = 1024

    def __init__(self) -> None:
        super().__init__()
        # The classifier, of which MONAI wants at least one class, is dropped.
        self.features = DenseNet121(spatial_dims=3, in_channels=1, out_channels=1).features

    def forward_features(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to (B, 1024, d, h, w), d = ⌊⌈D / 4⌉ / 8⌋ and so on."""
        return F.relu(self.features(x))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to features (B, 1024)."""
        return self.forward_features(x).mean((2, 3, 4))
