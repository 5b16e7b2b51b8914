"""CB3D of Che et al. 2018 (Mach. Vis. Appl.): C3D's stacks of convolutions and two wide fully connected layers."""

from __future__ import annotations

from torch import Tensor, nn

from cryoreg.contracts import Encoder
from cryoreg.encoders.dsrf3d import conv_relu, initialise


class CB3D(Encoder):
    """Conv 3³ 64, pool (1, 2, 2); 128, pool; (256, 256), pool; (512, 512), pool; FC 4096 twice, each with dropout.

    Features: 4096. Before the first FC the map is averaged to 4×2×2, which leaves that of a 32³ box as it is and lets
    other boxes pass, from 16 voxels up: the four pools leave one voxel of these along H and W.
    """

    num_features = 4096

    def __init__(self, *, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *conv_relu(1, 64),
            nn.MaxPool3d((1, 2, 2)),
            *conv_relu(64, 128),
            nn.MaxPool3d(2),
            *conv_relu(128, 256, 256),
            nn.MaxPool3d(2),
            *conv_relu(256, 512, 512),
            nn.MaxPool3d(2),
        )
        self.avgpool = nn.AdaptiveAvgPool3d((4, 2, 2))
        self.head = nn.Sequential(*_fully_connected(512 * 4 * 2 * 2, dropout), *_fully_connected(4096, dropout))
        self.apply(initialise)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to (B, 512, D // 8, H // 16, W // 16)."""
        return self.layers(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (B, 1, D, H, W) to features (B, 4096)."""
        return self.head(self.avgpool(self.forward_features(x)).flatten(1))


def _fully_connected(inputs: int, dropout: float) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, 4096), nn.ReLU(), nn.Dropout(dropout)
