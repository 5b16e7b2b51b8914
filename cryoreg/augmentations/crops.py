"""Local views: small parts of a subtomogram, cut without resampling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cryoreg.randomness import SampleRng


def random_parts(x: Tensor, box: Sequence[int], rng: SampleRng) -> Tensor:
    """Cut a part of ``box`` = (d, h, w) voxels out of each volume of ``x`` (B, C, D, H, W).

    Its place is uniform over all that lie inside, in whole voxels, so no voxel is interpolated.
    """
    places = rng.uniform((3,)).to(x.device)
    samples = torch.arange(len(x), device=x.device)[:, None, None, None]
    z, y, x_ = (_window(places[:, axis], size, x.shape[2 + axis]) for axis, size in enumerate(box))
    parts = x[samples, :, z[:, :, None, None], y[:, None, :, None], x_[:, None, None, :]]
    return parts.movedim(-1, 1)


def _window(place: Tensor, size: int, edge: int) -> Tensor:
    """Return the ``size`` successive indices (B, size) of each sample along one axis of ``edge`` voxels."""
    start = (place * (edge - size + 1)).long()
    return start[:, None] + torch.arange(size, device=place.device)
