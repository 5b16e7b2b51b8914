"""Takes density to an image and back to voxels: the filters and the missing wedge as one factor in Fourier space."""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import scipy.fft
from numpy.random import Generator
from numpy.typing import NDArray

from cryoreg.simulation import optics
from cryoreg.simulation.bands import Band
from cryoreg.simulation.filters import Filters
from cryoreg.simulation.settings import SceneSettings

Volume = NDArray[np.floating]
Spectrum = NDArray[np.complexfloating]
"""The half-spectrum (D, H, W // 2 + 1) of `numpy.fft.rfftn`, or the low frequencies of it that a `Band` keeps."""
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
        self._shell, self._counts = _shells(self.edge)
        self.k_squared: Table = np.arange(len(self._counts) - 1) / (self.edge * settings.voxel_size) ** 2
        measured = optics.wedge(optics.frequencies(self.shape, settings.voxel_size), settings.tilt)
        self.measured_shell = np.where(measured, self._shell, len(self.k_squared))
        self.multiplicity = _multiplicity(self.edge)
        self.measured = _shell_sum(self.measured_shell, np.broadcast_to(self.multiplicity, self._shell.shape))
        passed = int(min(settings.low_pass, 1.0) * self.edge / 2 * (1 + 1e-9))
        self._band = Band(self.edge, passed, settings.pad, self.dtype) if passed <= self.edge / 3 else None
        self._low_shell = self._band.low(self.measured_shell) if self._band else self.measured_shell
        self._noise_factor = functools.lru_cache(maxsize=1)(self._make_noise_factor)

    def transfer(self, resolution: float, defocus: float) -> Table:
        """Return the filter from density to image, by shell."""
        return _with_gap(self.filters.signal(self.k_squared, resolution, defocus))

    def noise_filter(self, defocus: float) -> Table:
        """Return the filter from white noise to the image's noise, by shell."""
        return _with_gap(self.filters.noise(self.k_squared, defocus, self.measured[:-1]))

    def signal(self, density: Volume, transfer: Table) -> Spectrum:
        """Return the half-spectrum of the image of a density (D, H, W)."""
        return self._filtered(density, transfer)

    def passed_signal(self, density: Volume, transfer: Table) -> Spectrum:
        """Return what `signal` does, without the frequencies that `low_pass` stops, where those are most."""
        if self._band is None:
            return self.signal(density, transfer)
        return (
            self._band.transform(density.astype(self.dtype, copy=False)) * transfer.astype(self.dtype)[self._low_shell]
        )

    def noise(self, rng: Generator, defocus: float) -> Spectrum:
        """Return the half-spectrum of the image's noise; in single precision it is drawn as such."""
        if self._real == "float64":
            return self.filtered_noise(rng.standard_normal(self.shape), defocus)
        spectrum = white_spectrum(rng, self.edge)
        spectrum *= self._noise_factor(defocus)
        return spectrum

    def filtered_noise(self, white: Volume, defocus: float) -> Spectrum:
        """Return the half-spectrum of the image's noise that comes of white noise (D, H, W)."""
        return self._filtered(white, self.noise_filter(defocus))

    def _make_noise_factor(self, defocus: float) -> Volume:
        return self.noise_filter(defocus).astype(self.dtype)[self.measured_shell]

    def _filtered(self, volume: Volume, filter_: Table) -> Spectrum:
        transform = scipy.fft.rfftn(volume.astype(self.dtype, copy=False), workers=1)
        transform *= filter_.astype(self.dtype)[self.measured_shell]
        return transform

    def crop(self, spectrum: Spectrum) -> Volume:
        """Return the middle (box, box, box) of the inverse transform.

        What is cut off along one axis is spared the transforms along the next.
        """
        if self._band is not None and len(spectrum) < self.edge:
            return self._band.crop(spectrum)
        inside = slice(self.settings.pad, self.settings.pad + self.settings.box)
        lines = scipy.fft.ifft(spectrum, axis=0, workers=1)[inside]
        lines = scipy.fft.ifft(lines, axis=1, workers=1)[:, inside]
        return scipy.fft.irfft(lines, n=self.edge, axis=2, workers=1)[..., inside]

    def energy(self, spectrum: Spectrum) -> float:
        """Return the sum of squares over all voxels of the padded box (Parseval)."""
        once = np.flatnonzero(self.multiplicity[: spectrum.shape[-1]] == 1)
        power = 2 * np.vdot(spectrum, spectrum).real - sum(_power(spectrum[..., plane]) for plane in once)
        return float(power) / self.edge**3

    def shell_power(self, density: Volume) -> Table:
        """Return the mean of \\|F density\\|² on each shell."""
        power = np.abs(scipy.fft.rfftn(density, workers=1)) ** 2
        return (_shell_sum(self._shell, power * self.multiplicity) / np.maximum(self._counts, 1))[:-1]

    def expected_energy(self, shell_power: Table, transfer: Table) -> float:
        """Return the sum of squares of the image of a body with that power, on average over its orientations."""
        return float(((self.measured * transfer**2)[:-1] * shell_power).sum()) / self.edge**3


@functools.lru_cache(maxsize=8)
def _shells(edge: int) -> tuple[NDArray[np.int64], Table]:
    """Return n² on the half-spectrum, and how many frequencies each value has, with a 0 for what is not measured."""
    n, half = np.rint(np.fft.fftfreq(edge, 1 / edge)), np.arange(edge // 2 + 1)
    shell = (n[:, None, None] ** 2 + n[:, None] ** 2 + half**2).astype(np.int64)
    counts = np.bincount(shell.ravel(), np.broadcast_to(_multiplicity(edge), shell.shape).ravel())
    return shell, _with_gap(counts.astype(np.float64))


def _shell_sum(shell: NDArray[np.int64], values: Volume) -> Table:
    edge = len(shell)
    return np.bincount(shell.ravel(), values.ravel(), len(_shells(edge)[1])).astype(np.float64, copy=False)


def white_spectrum(rng: Generator, edge: int) -> Spectrum:
    """Return the half-spectrum of white noise of variance 1 in a cube: normal, and Hermitian where it stands twice.

    Each complex number is one draw of 64 bits (Box and Muller 1958), a third of what drawing voxels costs.
    """
    shape = (edge, edge, edge // 2 + 1)
    count = int(np.prod(shape))
    uniform = rng.bit_generator.random_raw(count).astype("<u8", copy=False).view("<u4").astype(np.float32)
    uniform += np.float32(0.5)  # 32 random bits each: numbers of (0, 1]
    uniform *= np.float32(2.0**-32)
    radius, angle = uniform[:count], uniform[count:]
    np.log(radius, out=radius)
    radius *= np.float32(-(edge**3))
    np.sqrt(radius, out=radius)
    angle *= np.float32(2 * np.pi)
    flat = np.empty(count, dtype=np.complex64)
    np.multiply(radius, np.cos(angle), out=flat.real)
    np.multiply(radius, np.sin(angle), out=flat.imag)
    spectrum = flat.reshape(shape)
    for plane in (0,) if edge % 2 else (0, edge // 2):
        half = spectrum[..., plane]
        mirrored = np.roll(half[::-1, ::-1], 1, axis=(0, 1)).conj()
        spectrum[..., plane] = (half + mirrored) * np.float32(np.sqrt(0.5))
    return spectrum


def _multiplicity(edge: int) -> NDArray[np.float64]:
    """Return how often each plane of the half-spectrum stands in the whole one."""
    twice = np.full(edge // 2 + 1, 2.0)
    twice[0 if edge % 2 else [0, -1]] = 1
    return twice


def _power(plane: Spectrum) -> float:
    return float(np.vdot(plane, plane).real)


def _with_gap(table: Table) -> Table:
    return np.append(table, 0.0)
