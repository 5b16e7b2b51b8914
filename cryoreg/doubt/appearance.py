"""What volumes look like before any network: how their power is spread, their contrast, their grey values."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

BANDS = 4
"""Shells of equal width from frequency 0 to Nyquist."""
SPECTRUM = tuple(f"power, {part} of Nyquist" for part in ("0–¼", "¼–½", "½–¾", "¾–1"))
CONTRAST, SKEWNESS, KURTOSIS = "contrast of the centre", "skewness of grey values", "kurtosis of grey values"
APPEARANCE = (*SPECTRUM, CONTRAST, SKEWNESS, KURTOSIS)
"""The columns of `appearance`."""
_CENTRE = 0.25
"""Radius of the centre, of the box's edge."""


def appearance(volumes: Tensor) -> Tensor:
    """Return `APPEARANCE` (B, 7) of volumes (B, 1, D, H, W), each of mean 0 and standard deviation 1, in float32.

    The power of a band is the logarithm of its share of all; contrast is the mean density within a quarter of the edge
    of the centre less that outside, which is positive where particles are bright; skewness and kurtosis are the third
    and fourth moments of the voxels.
    """
    with torch.autocast(volumes.device.type, enabled=False):  # bf16 would be too coarse
        volumes = volumes.float()
        voxels = volumes.flatten(1)
        moments = torch.stack([(voxels**3).mean(1), (voxels**4).mean(1)], dim=1)
        return torch.cat([_log_shares(volumes[:, 0]), _contrast(voxels, volumes.shape[2:]), moments], dim=1)


def _log_shares(volumes: Tensor) -> Tensor:
    power = torch.fft.fftn(volumes, dim=(1, 2, 3)).abs().square().flatten(1)
    bands = _bands(tuple(volumes.shape[1:])).to(volumes.device)
    shares = (power @ bands) / power.sum(1, keepdim=True)
    return shares.clamp_min(torch.finfo(torch.float32).tiny).log()


def _contrast(voxels: Tensor, box: torch.Size) -> Tensor:
    inside = _inside(tuple(box)).to(voxels.device)
    return ((voxels @ inside) / inside.sum() - (voxels @ (1 - inside)) / (1 - inside).sum())[:, None]


@functools.lru_cache(maxsize=4)
def _bands(box: tuple[int, ...]) -> Tensor:
    """Return which frequencies (D·H·W, bands) of a box are in each band; those beyond Nyquist are in none."""
    axes = [2 * torch.fft.fftfreq(edge) for edge in box]
    radius = _length(torch.meshgrid(*axes, indexing="ij"))
    band = torch.ceil(radius * BANDS)  # the mean, at 0, is in none: normalisation takes it away
    return torch.stack([(band == number + 1).float() for number in range(BANDS)], dim=1)


@functools.lru_cache(maxsize=4)
def _inside(box: tuple[int, ...]) -> Tensor:
    """Return 1 for voxels (D·H·W,) in the centre, 0 for others."""
    axes = [(torch.arange(edge) - edge // 2) / edge for edge in box]
    return (_length(torch.meshgrid(*axes, indexing="ij")) <= _CENTRE).float()


def _length(grids: tuple[Tensor, ...]) -> Tensor:
    return torch.stack(grids).square().sum(0).sqrt().flatten()
