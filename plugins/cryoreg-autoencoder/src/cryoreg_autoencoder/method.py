"""A 3D convolutional autoencoder (after Zeng et al. 2018, J. Struct. Biol. 202:150, arXiv 1706.04970)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cryoreg.contracts import Encoder, Method, StepOutput

SEED = 4
"""Edge of the volume that the decoder begins with, voxels: a quarter of a box of 16, and resampled for others."""


class Autoencoder(Method):
    """Reconstruct a subtomogram from a short code of its features, which makes these tell what it looks like."""

    def __init__(self, encoder: Encoder, code_dim: int = 32, width: int = 32, sparsity: float = 1e-4) -> None:
        super().__init__()
        self.encoder = encoder
        self.code = nn.Sequential(nn.Linear(encoder.num_features, code_dim), nn.ReLU())
        self.decoder = Decoder(code_dim, width)
        self.sparsity = sparsity

    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        """Return the loss of one view (B, 1, D, H, W), in float32; convolutions run in the autocast dtype."""
        [view] = views
        features = self.encoder(view)
        code = self.code(features)
        reconstruction = self.decoder(code, view.shape[2:])
        with torch.autocast(view.device.type, enabled=False):
            error = (reconstruction.float() - view.float()).square().mean()
            loss = error + self.sparsity * code.float().abs().sum(dim=1).mean()
        return StepOutput(loss, features.detach())

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return what the decoder makes of volumes (B, 1, D, H, W), of the same shape."""
        return self.decoder(self.code(self.encoder(x)), x.shape[2:])


class Decoder(nn.Module):
    """From codes to volumes of any box: a coarse volume, then twice finer ones, each smoothed by a convolution."""

    def __init__(self, code_dim: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.seed = nn.Sequential(nn.Linear(code_dim, width * SEED**3), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv3d(width, width, 3, padding=1), nn.ReLU())
        self.fine = nn.Sequential(nn.Conv3d(width, width, 3, padding=1), nn.ReLU())
        self.density = nn.Conv3d(width, 1, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if layer.out_channels > 1 else "linear")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, code: Tensor, box: Sequence[int]) -> Tensor:
        """Map codes (B, code_dim) to volumes (B, 1, D, H, W), where ``box`` is (D, H, W), in voxels."""
        x = self.seed(code).unflatten(1, (self.width, SEED, SEED, SEED))
        x = resampled(x, [-(-edge // 4) for edge in box])
        x = self.coarse(resampled(x, [-(-edge // 2) for edge in box]))
        return self.density(self.fine(resampled(x, box)))


def resampled(x: Tensor, box: Sequence[int]) -> Tensor:
    """Interpolate volumes (B, C, d, h, w) to another ``box``, linearly along each axis."""
    return interpolate(x, size=list(box), mode="trilinear", align_corners=False)
