"""3D residual networks: MONAI's, with one input channel and without a classifier."""

from __future__ import annotations

from typing import Literal

from monai.networks import nets
from torch import Tensor

from cryoreg.contracts import Encoder

Depth = Literal[10, 18, 34, 50]


class ResNet3D(Encoder):
    """MONAI's ResNet: conv 7³, batch normalisation, ReLU, max-pool, four stages of residual blocks, global average.

    Features: 8 · ``width``, and 32 · ``width`` for depth 50, whose blocks are bottlenecks. Any box: every layer is
    padded.
    Convolutions start Kaiming-normal (fan-out) and normalisations at one and zero, as MONAI does.
    """

    def __init__(self, depth: Depth, stem_stride: int, width: int) -> None:
        super().__init__()
        # A bias before batch normalisation, MONAI's default in the shortcuts, has no gradient.
        self.net = getattr(nets, f"resnet{depth}")(
            spatial_dims=3,
            n_input_channels=1,
            conv1_t_stride=stem_stride,
            feed_forward=False,
            bias_downsample=False,
            widen_factor=width / 64,
        )
        self.num_features: int = self.net.in_planes

    def forward_features(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to (B, num_features, ⌈D / s⌉, ⌈H / s⌉, ⌈W / s⌉), s = 16 · ``stem_stride``."""
        net = self.net
        x = net.maxpool(net.act(net.bn1(net.conv1(x))))
        return net.layer4(net.layer3(net.layer2(net.layer1(x))))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to features (B, num_features)."""
        return self.forward_features(x).mean((2, 3, 4))
