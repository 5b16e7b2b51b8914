"""What every network is given: volumes of mean 0 and standard deviation 1."""

from __future__ import annotations

import torch
from torch import Tensor

NORMALISATION = "per-volume z-score"
"""What cards record of it."""


def normalise(volumes: Tensor) -> Tensor:
    """Give each volume of (B, 1, D, H, W) mean 0 and standard deviation 1, in float32; constant ones become 0."""
    volumes = volumes.float()
    mean = volumes.mean(dim=(1, 2, 3, 4), keepdim=True)
    std = volumes.std(dim=(1, 2, 3, 4), keepdim=True, correction=0)
    return (volumes - mean) / std.clamp_min(torch.finfo(torch.float32).tiny)
