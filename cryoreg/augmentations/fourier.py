"""Filters of whole batches, on the half-spectrum (D, H, W // 2 + 1) of `torch.fft.rfftn`.

Axes are (z, y, x). Filters are real and even, so that filtered volumes are real. Radial ones are profiles (B, n) over
the n distinct radii |k| of a box, as fractions of the Nyquist frequency: 1 is one period in two voxels. Linear filters
multiply into one; nothing here waits for the device, and what happens to one sample does not depend, to the bit, on
the batch that it is in.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from cryoreg.contracts import Box
from cryoreg.randomness import SampleRng

TiltAxis = Literal["x", "y"]

_WEDGE_TOLERANCE = 1e-6
"""Degrees: a frequency that lies on the wedge's rim is measured, however its angle is rounded."""


def transform(x: Tensor) -> Tensor:
    """Return the half-spectra (B, C, D, H, W // 2 + 1) of ``x`` (B, C, D, H, W)."""
    return _each(lambda volumes: torch.fft.rfftn(volumes, dim=(-3, -2, -1)), x)


def inverse(spectra: Tensor, box: Box) -> Tensor:
    """Return the volumes (B, C, D, H, W) of half-spectra, for a ``box`` (D, H, W)."""
    return _each(lambda spectrum: torch.fft.irfftn(spectrum, s=box, dim=(-3, -2, -1)), spectra)


def _each(fourier_transform: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """Transform a batch; on a CPU one sample after the other, since MKL rounds by how many there are and by threads."""
    if batch.device.type != "cpu":
        return fourier_transform(batch)
    return torch.stack([fourier_transform(sample) for sample in batch])


def filtered(spectrum: Tensor, by: Tensor) -> Tensor:
    """Multiply half-spectra by a real filter that broadcasts to them."""
    return torch.view_as_complex(torch.view_as_real(spectrum) * by[..., None])  # faster than complex by real


def power(spectrum: Tensor, box: Box) -> Tensor:
    """Return the mean square (B,) of the volumes that have these half-spectra (B, 1, D, H, W // 2 + 1)."""
    squares = (spectrum.real.square() + spectrum.imag.square()) * _multiplicity(box, spectrum.device)
    return _sum(squares.flatten(1)) / math.prod(box) ** 2


def _sum(values: Tensor) -> Tensor:
    """Sum each row of (B, n), always in the same order: `torch.sum` may choose it by the number of rows."""
    while values.shape[1] > 1:
        half = values.shape[1] // 2
        values = torch.cat([values[:, :half] + values[:, half : 2 * half], values[:, 2 * half :]], dim=1)
    return values[:, 0]


@functools.lru_cache(maxsize=16)
def _multiplicity(box: Box, device: torch.device) -> Tensor:
    """Return how many frequencies of the full spectrum each plane of the half-spectrum stands for: (W // 2 + 1,)."""
    planes = torch.arange(box[2] // 2 + 1, device=device)
    return torch.where((planes == 0) | (2 * planes == box[2]), 1.0, 2.0)


# ---- radial filters ----


class Radii(NamedTuple):
    """The distinct distances |k| of a half-spectrum from its origin, of which there are far fewer than frequencies."""

    k: Tensor
    """float32 (n,), rising from 0."""
    which: Tensor
    """Which of them each frequency has: int64 (D, H, W // 2 + 1)."""

    def spread(self, profile: Tensor) -> Tensor:
        """Return the filter (B, 1, D, H, W // 2 + 1) of a profile (B, n)."""
        return profile[:, None, self.which]


@functools.lru_cache(maxsize=16)
def radii(box: Box, device: torch.device) -> Radii:
    """Return the radii of a box (D, H, W); those that differ by less than 1e-6 are one."""
    z, y, x = _frequencies(box, device)
    squares = z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2
    k, which = torch.unique((2e6 * squares.sqrt()).round(), return_inverse=True)
    return Radii((k * 1e-6).float(), which)


def _frequencies(box: Box, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return kz, ky and kx of the half-spectrum in periods per voxel."""
    z, y = (torch.fft.fftfreq(edge, dtype=torch.float64, device=device) for edge in box[:2])
    return z, y, torch.fft.rfftfreq(box[2], dtype=torch.float64, device=device)


def gaussian(k: Tensor, inverse_cutoff: Tensor) -> Tensor:
    """Return exp(−(k/c)²), the amplitude at ``k`` (n,), for 1/c (B,), where 0 is no filter at all."""
    return torch.exp(-((k * _column(inverse_cutoff)) ** 2))


def highpass(k: Tensor, cutoff: Tensor) -> Tensor:
    """Return 1 − exp(−(k/c)²) for cut-offs c (B,), where 0 lets all but the mean pass."""
    return 1 - gaussian(k, 1 / cutoff.clamp_min(1e-6))


def thon_rings(k: Tensor, rings: Tensor, depth: Tensor) -> Tensor:
    """Return 1 − m·cos(2π·n·k²): the power |CTF|² = (1 − cos 2χ)/2, as a modulation of ``depth`` m (B,).

    ``rings`` n (B,) is the number of rings up to Nyquist: χ = πλΔz·|k|², so n = λΔz/(2a)² for voxels of a Å. That is
    1.5 for a defocus of 3 µm at 300 kV and 10 Å. Spherical aberration and amplitude contrast are left out: at 10 Å, the
    former is 0.002 rad at most.
    """
    return 1 - _column(depth) * torch.cos(2 * math.pi * _column(rings) * k**2)


def coloured(k: Tensor, exponent: Tensor) -> Tensor:
    """Return k^(−β/2) for exponents β (B,), by which white noise comes to have power ∝ k^−β; 0 at k = 0."""
    amplitude = torch.exp(-0.5 * _column(exponent) * torch.log(k.clamp_min(torch.finfo(k.dtype).tiny)))
    return torch.where(k > 0, amplitude, 0.0)


def _column(values: Tensor) -> Tensor:
    """Give numbers (B,) the shape (B, 1), in the filters' float32."""
    return values.float()[:, None]


# ---- the missing wedge ----


def wedge(box: Box, low: Tensor, high: Tensor, axis: TiltAxis = "y", edge: float = 0.0) -> Tensor:
    """Return what tilt series from ``low`` to ``high`` (B,) measure of each frequency: 1, or 0 in the missing wedge.

    Angles are degrees, the beam is z, and the image at tilt θ measures the plane through the tilt axis y where
    kz = tan(θ)·kx (through x where kz = tan(θ)·ky), as in `cryoreg.simulation.optics.wedge`. The rim is a linear ramp
    ``edge`` degrees wide, centred on the limit; 0: a step. Shape (B, 1, D, 1, W // 2 + 1), for tilt axis x
    (B, 1, D, H, 1).
    """
    shape = (-1, 1, box[0], 1, box[2] // 2 + 1) if axis == "y" else (-1, 1, box[0], box[1], 1)
    angles = _tilt_angles(box, axis, low.device)
    below, above = (limit[:, None, None, None] for limit in (low, high))
    # Both aliases of a frequency on the rim of the spectrum count for half.
    return (_ramp(angles - below, edge) * _ramp(above - angles, edge)).mean(dim=1).float().view(shape)


def _ramp(inside: Tensor, edge: float) -> Tensor:
    """Rise from 0 to 1 around 0 within ``edge``."""
    if edge == 0:
        return (inside >= -_WEDGE_TOLERANCE).to(inside.dtype)
    return (inside / edge + 0.5).clamp(0, 1)


@functools.lru_cache(maxsize=16)
def _tilt_angles(box: Box, axis: TiltAxis, device: torch.device) -> Tensor:
    """Return at which tilt, in degrees, each frequency is measured, and its alias: (2, D, W // 2 + 1 or H).

    At Nyquist +k and −k are one frequency, and where the in-plane frequency is 0 so are ±90°: there the alias has the
    opposite angle, elsewhere the same.
    """
    z, y, x = _frequencies(box, device)
    across, along = torch.meshgrid(z, x if axis == "y" else y, indexing="ij")
    angle = torch.rad2deg(torch.atan2(torch.where(along < 0, -across, across), along.abs()))
    ambiguous = (across.abs() == 0.5) | (along.abs() == 0.5) | (along == 0)
    return torch.stack([angle, torch.where(ambiguous, -angle, angle)])


# ---- noise ----


def white_noise(rng: SampleRng, box: Box) -> Tensor:
    """Draw from the standard normal distribution, float32 (B, 1, D, H, W), by Box and Muller (1958).

    Each 64 bits give two numbers, of 24 bits each: several times faster than `SampleRng.normal`.
    """
    count = math.prod(box)
    bits = rng.bits(((count + 1) // 2,))
    length, turn = (((bits >> shift) & 0xFFFFFF).float() * 2.0**-24 for shift in (40, 16))
    distance, angle = torch.sqrt(-2 * torch.log(1 - length)), 2 * math.pi * turn
    pairs = torch.cat([distance * torch.cos(angle), distance * torch.sin(angle)], dim=1)
    return pairs[:, :count].reshape(-1, 1, *box)
