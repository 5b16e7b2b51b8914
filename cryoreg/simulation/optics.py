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


def splat(points: Points, masses: Array, shape: tuple[int, int, int], voxel_size: float) -> Array:
    """Return the mass per voxel (D, H, W), each point shared trilinearly between the eight voxels around it.

    The origin of ``points``, (N, 3) as x, y, z in Å, is the voxel at index edge // 2. What lies outside is left out.
    """
    size = np.array(shape)
    position = points[:, ::-1] / voxel_size + size // 2
    lower = np.floor(position).astype(np.int64)
    share = np.stack([1 - (position - lower), position - lower])
    density = np.zeros(size.prod())
    for corner in np.ndindex(2, 2, 2):
        voxel = lower + corner
        inside = np.all((voxel >= 0) & (voxel < size), axis=1)
        weight = masses * share[corner, :, range(3)].prod(axis=0)
        index = np.ravel_multi_index(tuple(voxel[inside].T), shape)
        density += np.bincount(index, weight[inside], density.size)
    return density.reshape(shape)


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


def wedge(k: Frequencies, tilt: float) -> NDArray[np.bool_]:
    """Return where a single-axis tilt series over ±``tilt`` degrees measures: tilt axis y, beam z.

    The image at tilt θ is the central section that holds the y axis and turns by θ from the x axis towards z, so a
    frequency is measured where |kz| ≤ tan(tilt)·|kx|, the ky axis included.
    """
    angle = np.arctan2(np.abs(k.z), np.abs(k.x))
    measured = (angle <= np.deg2rad(tilt) + 1e-12) | ((k.z == 0) & (k.x == 0))
    return measured & np.ones_like(k.y, dtype=bool)
