"""The long way from density to image: project at every tilt, blur each image, add its noise, back-project.

It shares nothing with the fast way but the filters' formulas, and is there to check it. Projection and back-projection
are torch-fourier-slice's (central slices, twofold padding), weighted by the ramp of single-axis tilt geometry.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import scipy.fft
from numpy.random import Generator
from numpy.typing import NDArray

from cryoreg.errors import ConfigError
from cryoreg.simulation.microscope import Microscope, Spectrum, Table, Volume
from cryoreg.simulation.settings import SceneSettings
from cryoreg.threads import in_threads

PAD = 2
"""Volumes and images are padded to so many times their edge: the slices between Fourier voxels are interpolated."""


class TiltSeries(Microscope):
    """Images cubes as a tilt series about y that is reconstructed by weighted back-projection."""

    def __init__(self, settings: SceneSettings) -> None:
        """Take the settings; raise `ConfigError` where torch-fourier-slice is not installed."""
        super().__init__(settings.model_copy(update={"precision": "single"}))  # torch-fourier-slice knows no other
        _slicing()
        low, high = settings.tilt
        count = max(1, round((high - low) / settings.tilt_step) + 1)
        self.tilts = np.deg2rad(np.linspace(low, high, count))
        n = scipy.fft.fftfreq(self.edge, 1 / self.edge)
        half = scipy.fft.rfftfreq(self.edge, 1 / self.edge)
        self._image_shell = np.rint(n[:, None] ** 2 + half**2).astype(np.int64)

    def signal(self, density: Volume, transfer: Table) -> Spectrum:
        """Return the half-spectrum of the reconstruction of the blurred projections of a density."""
        with in_threads(1):  # sums over several come out in another order
            return self._reconstruct(self._project(density), transfer)

    def passed_signal(self, density: Volume, transfer: Table) -> Spectrum:
        """Return what `signal` does: projecting takes all frequencies."""
        return self.signal(density, transfer)

    def noise(self, rng: Generator, defocus: float) -> Spectrum:
        """Return the half-spectrum of the reconstruction of images of noise."""
        white = rng.standard_normal((len(self.tilts), self.edge, self.edge), dtype=self._real)
        with in_threads(1):  # sums over several come out in another order
            return self._reconstruct(white, self.noise_filter(defocus))

    def rotations(self) -> NDArray[np.float64]:
        """Return what takes the axes (x, y, z) of each image into the volume, (tilts, 3, 3): turns about y.

        The image's x axis points along (cos θ, 0, sin θ) of the volume.
        """
        cos, sin, nil, one = np.cos(self.tilts), np.sin(self.tilts), 0 * self.tilts, 1 + 0 * self.tilts
        return np.moveaxis(np.array([[cos, nil, -sin], [nil, one, nil], [sin, nil, cos]]), -1, 0)

    def _project(self, density: Volume) -> Volume:
        """Return the projections (tilts, H, W)."""
        import torch

        volume = torch.from_numpy(density.astype(self.dtype))
        turns = torch.from_numpy(self.rotations().astype(self.dtype))
        return _slicing().project_3d_to_2d(volume, turns, pad_factor=PAD).numpy()

    def _reconstruct(self, images: Volume, filter_: Table) -> Spectrum:
        """Filter images (tilts, H, W) and insert them, weighted, as central slices."""
        factor = filter_[self._image_shell].astype(self.dtype)
        spectra = scipy.fft.rfft2(images, workers=1) * factor
        return scipy.fft.rfftn(self._back_project(scipy.fft.irfft2(spectra, s=images.shape[1:], workers=1)), workers=1)

    def _back_project(self, images: Volume) -> Volume:
        import torch

        margin = self.edge * (PAD - 1) // 2
        padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin)))
        size = padded.shape[-1]
        slices = scipy.fft.rfft2(scipy.fft.ifftshift(padded, axes=(1, 2)), workers=1) * self._ramp(size)
        inserted, _ = _slicing().insert_central_slices_rfft_3d(
            torch.from_numpy(scipy.fft.fftshift(slices, axes=1)),
            volume_shape=(size,) * 3,
            rotation_matrices=torch.from_numpy(self.rotations().astype(self.dtype)),
        )
        spectrum = scipy.fft.ifftshift(inserted.numpy(), axes=(0, 1))
        volume = scipy.fft.fftshift(scipy.fft.irfftn(spectrum, s=(size,) * 3, workers=1))
        inside = slice(margin, margin + self.edge)
        return volume[inside, inside, inside] / self._kernel(size)[inside, inside, inside]

    def _ramp(self, size: int) -> NDArray[np.floating]:
        """Return an image's share in what all of them tell of a frequency: the distance of their arcs in voxels."""
        step = np.deg2rad(self.settings.tilt_step)
        distance = scipy.fft.rfftfreq(size, 1 / size) * step
        return np.maximum(distance, 1 / len(self.tilts)).astype(self.dtype)

    def _kernel(self, size: int) -> NDArray[np.floating]:
        """Return by what trilinear insertion multiplies the volume."""
        one = np.sinc((np.arange(size) - size // 2) / size) ** 2
        return (one[:, None, None] * one[:, None] * one).astype(self.dtype)


def _slicing() -> ModuleType:
    try:
        import torch_fourier_slice
    except ImportError as error:
        raise ConfigError(
            "tilt series need torch-fourier-slice, which is not installed: pip install 'cryoreg[tilt-series]'"
        ) from error
    return torch_fourier_slice
