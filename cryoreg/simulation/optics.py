"""The microscope: structures to voxels, resolution, contrast transfer function, missing wedge.

Volumes have axes (z, y, x); filters are given on the half-spectrum of `numpy.fft.rfftn`, (D, H, W // 2 + 1), and are
even in every frequency, so that filtered volumes are real.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.simulation.structures import Points

Array = NDArray[np.float64]


class Frequencies(NamedTuple):
    """Spatial frequencies in 1/Å, three arrays that broadcast to the half-spectrum."""

    z: Array
    y: Array
    x: Array

    @property
    def squared(self) -> Array:
        """k² on the half-spectrum, 1/Å2."""
        return self.z**2 + self.y**2 + self.x**2


def frequencies(shape: tuple[int, int, int], voxel_size: float) -> Frequencies:
    """Return the frequencies of `numpy.fft.rfftn` for a volume of ``shape`` voxels of ``voxel_size`` Å."""
    z, y = (np.fft.fftfreq(edge, voxel_size).astype(np.float64) for edge in shape[:2])
    x = np.fft.rfftfreq(shape[2], voxel_size).astype(np.float64)
    return Frequencies(z[:, None, None], y[None, :, None], x[None, None, :])


BLOCK = 8192
"""Points that are shared out at a time: what is reckoned of them fits into a processor's cache."""


def splat(
    points: Points,
    masses: NDArray[np.floating],
    shape: tuple[int, int, int],
    voxel_size: float,
    dtype: type[np.floating] | np.dtype = np.float64,
) -> NDArray[np.floating]:
    """Return the mass per voxel (D, H, W), each point shared trilinearly between the eight voxels around it.

    The origin of ``points``, (N, 3) as x, y, z in Å, is the voxel at index edge // 2. What lies outside is left out.
    """
    edges = np.array(shape, dtype)[:, None]
    position = np.divide(points.T[::-1], voxel_size, order="C", dtype=dtype) + edges // 2
    inside = ((position >= -1) & (position < edges)).all(axis=0)
    if not inside.all():
        position, masses = position[:, inside], masses[inside]
    density = np.zeros([edge + 2 for edge in shape], dtype)  # a rim of one voxel takes what falls off the edges
    for start in range(0, len(masses), BLOCK):
        block = slice(start, start + BLOCK)
        index, weights = _corners(position[:, block], masses[block], density.shape)
        np.add.at(density.reshape(-1), index.ravel(), weights.ravel())
    return density[1:-1, 1:-1, 1:-1]


def _corners(
    position: NDArray[np.floating], masses: NDArray[np.floating], rim: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """Return index and weight (8, N) of the voxels around positions (3, N), in the box with its rim."""
    lower = np.floor(position)
    z, y, x = lower.astype(np.int64) + 1
    corners = np.array([(dz * rim[1] + dy) * rim[2] + dx for dz, dy, dx in np.ndindex(2, 2, 2)])
    weights = np.empty((2, 2, 2, len(masses)), position.dtype)
    weights[0, 0, 0] = masses
    halves = (
        (weights[0, 0, 0], weights[1, 0, 0]),
        (weights[:, 0, 0], weights[:, 1, 0]),
        (weights[:, :, 0], weights[:, :, 1]),
    )
    for share, (near, far) in zip(position - lower, halves, strict=True):
        np.multiply(near, share, out=far)
        np.subtract(near, far, out=near)
    return (z * rim[1] + y) * rim[2] + x + corners[:, None], weights


def gaussian(k_squared: Array, resolution: float) -> Array:
    """Return exp(−(k·resolution)²): a Gaussian of σ = resolution / (π√2) Å in real space, 1/e at k = 1/resolution."""
    return np.exp(-k_squared * resolution**2)


def wavelength(voltage: float) -> float:
    """Return the relativistic wavelength in Å of electrons of ``voltage`` kV: h / √(2·m·e·V·(1 + eV / 2mc²))."""
    volts = voltage * 1e3
    return float(12.264259 / np.sqrt(volts * (1 + 0.97847538e-6 * volts)))


def ctf(k_squared: Array, defocus: float, cs: float, voltage: float, amplitude_contrast: float) -> Array:
    """Return the contrast transfer function −[√(1−A²)·sin χ + A·cos χ] with χ = πλΔz·k² − ½πCsλ³·k⁴.

    ``defocus`` Δz in µm, underfocus positive; ``cs`` in mm; ``voltage`` in kV. Negative at low frequency, where protein
    is darker than ice. The central section at any tilt has the same radial CTF, so in 3D it is a function of |k|.
    """
    length = wavelength(voltage)
    defocus_term = np.pi * length * defocus * 1e4 * k_squared
    aberration_term = 0.5 * np.pi * cs * 1e7 * length**3 * k_squared**2
    return -np.sin(defocus_term - aberration_term + np.arcsin(amplitude_contrast))


def envelope(k_squared: Array, b_factor: float) -> Array:
    """Return exp(−B·k²/4), B in Å2."""
    return np.exp(-b_factor / 4 * k_squared)


def wedge(k: Frequencies, tilt: float | tuple[float, float]) -> NDArray[np.bool_]:
    """Return where a single-axis tilt series over ±``tilt`` degrees, or over a range, measures: tilt axis y, beam z.

    The image at tilt θ is the central section that holds the y axis and turns by θ from the x axis towards z, so a
    frequency is measured where tan θ = kz / kx for a θ of the range, the ky axis included.
    """
    lowest, highest = tilt if isinstance(tilt, tuple) else (-tilt, tilt)
    angle = np.arctan2(np.where(k.x < 0, -k.z, k.z), np.abs(k.x))
    upright = (k.x == 0) & (max(-lowest, highest) >= 90)
    measured = (np.deg2rad(lowest) - 1e-12 <= angle) & (angle <= np.deg2rad(highest) + 1e-12) | upright
    return (measured | ((k.z == 0) & (k.x == 0))) & np.ones_like(k.y, dtype=bool)
