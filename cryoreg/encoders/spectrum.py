"""A volume's Fourier amplitudes as a second channel, in which a network sees the missing wedge."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FLOOR = 1e-3
"""Added to the power, whose mean is 1 for a z-scored volume: the logarithm of what was not measured is finite."""


def with_spectrum(x: Tensor) -> Tensor:
    """Return ``x`` (B, 1, D, H, W) and, as a second channel, `log_amplitudes` with mean 0 and standard deviation 1."""
    with torch.autocast(x.device.type, enabled=False):
        spectrum = log_amplitudes(x.float())
        spread, mean = torch.std_mean(spectrum, dim=(2, 3, 4), correction=0, keepdim=True)
        return torch.cat((x, ((spectrum - mean) / (spread + 1e-6)).to(x.dtype)), dim=1)


def log_amplitudes(x: Tensor) -> Tensor:
    """Return log(|F|² + `FLOOR`) of volumes (B, 1, D, H, W), the origin in the centre, in the same shape.

    F is the discrete Fourier transform divided by the root of the number of voxels. Frequencies lie symmetrically about
    0, along even edges at halves, ..., −½, ½, ...: where a volume is turned on its grid, so is its spectrum.
    """
    real, imaginary = x, torch.zeros_like(x)
    for axis in (2, 3, 4):
        cosine, sine = waves(x.shape[axis], x.device)
        a, b = real.movedim(axis, -1), imaginary.movedim(axis, -1)
        real, imaginary = ((a @ cosine + b @ sine).movedim(-1, axis), (b @ cosine - a @ sine).movedim(-1, axis))
    return (real.square() + imaginary.square() + FLOOR).log()


def waves(edge: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines (edge, edge) of places by frequencies, both from the centre, over √edge."""
    places = torch.arange(edge, device=device, dtype=torch.float64) - (edge - 1) / 2
    angles = 2 * math.pi / edge * places[:, None] * places
    return (angles.cos() / edge**0.5).float(), (angles.sin() / edge**0.5).float()
