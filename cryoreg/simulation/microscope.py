"""Takes density to an image and back to voxels: the filters and the missing wedge as one factor in Fourier space."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.fft
from numpy.random import Generator
from numpy.typing import NDArray

from cryoreg.simulation import optics
from cryoreg.simulation.filters import Filters
from cryoreg.simulation.settings import SceneSettings

Volume = NDArray[np.floating]
Spectrum = NDArray[np.complexfloating]
Table = NDArray[np.float64]
"""A value for each squared radius n² = 0, 1, 2, ... in Fourier voxels; filters end with a 0: what is not measured."""


class Microscope:
    """Images cubes of `edge` voxels, the box and its pad.

    Each volume is transformed by itself, so that its bits do not depend on what is simulated beside it.
    """

    def __init__(self, settings: SceneSettings) -> None:
        """Take the settings; raise `DataError` where an MTF file cannot be read."""
        self.settings = settings
        self.filters = Filters(settings)
        self.edge = settings.box + 2 * settings.pad
        self.shape = (self.edge,) * 3
        self._real: Literal["float32", "float64"] = "float32" if settings.precision == "single" else "float64"
        self.dtype = np.dtype(self._real)
        k = optics.frequencies(self.shape, settings.voxel_size)
        extent = self.edge * settings.voxel_size
        self._shell = np.rint(k.squared * extent**2).astype(np.int64)
        self.k_squared: Table = np.arange(self._shell.max() + 1) / extent**2
        self._measured_shell = np.where(optics.wedge(k, settings.tilt), self._shell, len(self.k_squared))
        self._twice = _multiplicity(self.edge)
        self._weight = np.broadcast_to(self._twice, self._shell.shape)
        self._counts = self._shell_sum(self._shell, self._weight)
        self._measured = self._shell_sum(self._measured_shell, self._weight)

    def transfer(self, resolution: float, defocus: float) -> Table:
        """Return the filter from density to image, by shell."""
        return _with_gap(self.filters.signal(self.k_squared, resolution, defocus))

    def noise_filter(self, defocus: float) -> Table:
        """Return the filter from white noise to the image's noise, by shell."""
        return _with_gap(self.filters.noise(self.k_squared, defocus, self._measured[:-1]))

    def signal(self, density: Volume, transfer: Table) -> Spectrum:
        """Return the half-spectrum of the image of a density (D, H, W)."""
        return self._filtered(density, transfer)

    def noise(self, rng: Generator, defocus: float) -> Spectrum:
        """Return the half-spectrum of the image's noise."""
        return self._filtered(rng.standard_normal(self.shape, dtype=self._real), self.noise_filter(defocus))

    def _filtered(self, volume: Volume, filter_: Table) -> Spectrum:
        transform = scipy.fft.rfftn(volume.astype(self.dtype, copy=False), workers=1)
        transform *= filter_.astype(self.dtype)[self._measured_shell]
        return transform

    def crop(self, spectrum: Spectrum) -> Volume:
        """Return the middle (box, box, box) of the inverse transform.

        What is cut off along one axis is spared the transforms along the next.
        """
        inside = slice(self.settings.pad, self.settings.pad + self.settings.box)
        lines = scipy.fft.ifft(spectrum, axis=0, workers=1)[inside]
        lines = scipy.fft.ifft(lines, axis=1, workers=1)[:, inside]
        return scipy.fft.irfft(lines, n=self.edge, axis=2, workers=1)[..., inside]

    def energy(self, spectrum: Spectrum) -> float:
        """Return the sum of squares over all voxels of the padded box (Parseval)."""
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        return float((power.sum(axis=(0, 1), dtype=np.float64) * self._twice).sum()) / self.edge**3

    def shell_power(self, density: Volume) -> Table:
        """Return the mean of \\|F density\\|² on each shell."""
        power = np.abs(scipy.fft.rfftn(density, workers=1)) ** 2
        return (self._shell_sum(self._shell, power * self._weight) / np.maximum(self._counts, 1))[:-1]

    def expected_energy(self, shell_power: Table, transfer: Table) -> float:
        """Return the sum of squares of the image of a body with that power, on average over its orientations."""
        return float(((self._measured * transfer**2)[:-1] * shell_power).sum()) / self.edge**3

    def _shell_sum(self, shell: NDArray[np.int64], values: Volume) -> Table:
        return np.bincount(shell.ravel(), values.ravel(), len(self.k_squared) + 1).astype(np.float64, copy=False)


def _multiplicity(edge: int) -> NDArray[np.float64]:
    """Return how often each plane of the half-spectrum stands in the whole one."""
    twice = np.full(edge // 2 + 1, 2.0)
    twice[0 if edge % 2 else [0, -1]] = 1
    return twice


def _with_gap(table: Table) -> Table:
    return np.append(table, 0.0)
