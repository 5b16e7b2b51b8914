"""NRCL: noise-resilient contrastive learning, after the idea of Jiang et al. 2025 (arXiv 2509.24311)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cryoreg.contracts import Encoder
from cryoreg.methods.moco import MoCo


class NRCL(MoCo):
    """MoCo whose queries are noisy and whose keys are clean, those of the queue too.

    The trained encoder sees noisy volumes only, as it will in use; the momentum encoder sees clean ones and takes no
    gradient, so the noisy side moves to the clean one and never the reverse. It is never symmetric: with noisy keys in
    the queue, the noise level would tell a negative from the positive.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        denoise_sigma: float,
        queue_size: int,
        momentum: float,
        temperature: float,
        hidden_dim: int,
        output_dim: int,
    ) -> None:
        super().__init__(
            encoder,
            queue_size=queue_size,
            momentum=momentum,
            temperature=temperature,
            head="v2",
            hidden_dim=hidden_dim,
            output_dim=output_dim,
            symmetric=False,
        )
        self.denoise_sigma = denoise_sigma

    def denoise(self, x: Tensor) -> Tensor:
        """Return volumes (B, 1, D, H, W) blurred by a Gaussian of ``denoise_sigma`` voxels."""
        return blurred(x, self.denoise_sigma)


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Convolve volumes (B, 1, D, H, W) with a Gaussian of ``sigma`` voxels, cut at 4σ, the border voxels repeated."""
    if sigma == 0:
        return x
    radius = int(4 * sigma + 0.5)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=x.device) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(x.dtype)
    for axis in range(3):
        shape = [1] * 5
        shape[2 + axis] = len(kernel)
        padding = [0] * 6
        padding[4 - 2 * axis : 6 - 2 * axis] = [radius, radius]
        x = F.conv3d(F.pad(x, padding, mode="replicate"), kernel.reshape(shape))
    return x
