"""One scene: a target among its neighbours, seen through the microscope.

    density = splat(target) + splat(neighbours)
    volume  = crop( F⁻¹[ wedge · (−CTF) · Gaussian · F density ] + c · F⁻¹[ wedge · F white noise ] )

The wedge is fixed to the microscope, so it comes after the rotation, and it takes signal and noise alike. The CTF's
sign is turned: protein is white on 0, and the noise has standard deviation 1 in the crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cryoreg.simulation import optics
from cryoreg.simulation.packing import place_around
from cryoreg.simulation.poses import random_rotation
from cryoreg.simulation.streams import Purpose, stream
from cryoreg.simulation.structures import Points, Structure

GRID = 2.0**-12
"""Volumes are rounded to multiples of this, far below the noise, so that another CPU's last bits do not show."""


@dataclass(frozen=True)
class SceneSettings:
    """What scenes have in common. Lengths in Å unless stated."""

    box: int = 24
    """Edge of the crop, voxels."""
    voxel_size: float = 12.0
    snr: float = 6.0
    """Variance of the target over variance of the noise, each as seen in the crop's voxels; ∞ for no noise."""
    neighbours: int = 3
    clearance: float = 40.0
    """Largest gap between the bounding spheres of target and neighbour."""
    max_shift: float = 2.0
    """Largest shift of the target from the centre along each axis, voxels."""
    resolution: tuple[float, float] = (22.0, 28.0)
    """Range from which each scene draws; see `optics.gaussian`."""
    defocus: tuple[float, float] = (3.5, 4.5)
    """Range from which each scene draws, µm, underfocus positive."""
    cs: float = 2.7
    """mm."""
    voltage: float = 300.0
    """kV."""
    amplitude_contrast: float = 0.07
    tilt: float = 60.0
    """Largest tilt either way, degrees."""
    pad: int = 8
    """Voxels around the crop that are simulated and cut off: the CTF spreads what lies there into the crop."""


class Scene(NamedTuple):
    """One simulated subtomogram and how it was made."""

    volume: NDArray[np.float32]
    """(box, box, box), axes (z, y, x)."""
    label: int
    """Index of the target among the structures."""
    rotation: NDArray[np.float64]
    """(3, 3): laboratory = rotation @ structure."""
    shift: NDArray[np.float64]
    """(3,): x, y, z of the target's centre of mass, Å from the crop's centre voxel."""
    resolution: float
    """Å."""
    defocus: float
    """µm."""
    snr_crop: float
    """Measured: variance of the target's own signal (after CTF and wedge) over the noise's, voxels of the crop."""
    snr_box: float
    """The same ratio over the padded box."""


class Simulator:
    """Scenes by index: scene i depends on the structures, the settings, the seed and i alone."""

    def __init__(self, structures: Sequence[Structure], settings: SceneSettings, seed: int) -> None:
        self.structures = tuple(structures)
        self.settings = settings
        self.seed = seed
        edge = settings.box + 2 * settings.pad
        self.shape = (edge, edge, edge)
        self._frequencies = optics.frequencies(self.shape, settings.voxel_size)
        self._wedge = optics.wedge(self._frequencies, settings.tilt)

    def scene(self, index: int) -> Scene:
        """Simulate scene ``index``; its target is structure ``index`` modulo their number."""
        rng = stream(self.seed, Purpose.SCENE, index)
        label = index % len(self.structures)
        target = self.structures[label]
        rotation = random_rotation(rng)
        shift = rng.uniform(-1, 1, 3) * self.settings.max_shift * self.settings.voxel_size
        resolution = rng.uniform(*self.settings.resolution)
        defocus = rng.uniform(*self.settings.defocus)
        own = self._splat(target.points @ rotation.T + shift, target.masses)
        crowd = self._splat(*self._neighbours(target, shift, rng))
        noise = rng.standard_normal(self.shape)
        seen = self._image(np.stack([own, crowd, noise]), self._transfer(resolution, defocus))
        volume, snr_crop, snr_box = self._compose(*seen)
        return Scene(volume, label, rotation, shift, resolution, defocus, snr_crop, snr_box)

    def _splat(self, points: Points, masses: NDArray[np.float64]) -> NDArray[np.float64]:
        return optics.splat(points, masses, self.shape, self.settings.voxel_size)

    def _neighbours(
        self, target: Structure, shift: NDArray[np.float64], rng: Generator
    ) -> tuple[Points, NDArray[np.float64]]:
        chosen = [self.structures[i] for i in rng.integers(len(self.structures), size=self.settings.neighbours)]
        centres = place_around(target.radius, [s.radius for s in chosen], self.settings.clearance, rng)
        points = [s.points @ random_rotation(rng).T + c for s, c in zip(chosen, centres, strict=True)]
        masses = [s.masses for s in chosen]
        return np.concatenate([np.empty((0, 3)), *points]) + shift, np.concatenate([np.empty(0), *masses])

    def _transfer(self, resolution: float, defocus: float) -> NDArray[np.float64]:
        """Return the filter from density to image, but for the wedge."""
        settings, k_squared = self.settings, self._frequencies.squared
        ctf = optics.ctf(k_squared, defocus, settings.cs, settings.voltage, settings.amplitude_contrast)
        return -ctf * optics.gaussian(k_squared, resolution)

    def _image(self, densities: NDArray[np.float64], transfer: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pass target, neighbours and noise (3, D, H, W) through the microscope; only the wedge acts on the noise."""
        axes = (1, 2, 3)
        spectrum = np.fft.rfftn(densities, axes=axes) * self._wedge
        spectrum[:2] *= transfer
        return np.fft.irfftn(spectrum, s=self.shape, axes=axes)

    def _compose(
        self, signal: NDArray[np.float64], crowd: NDArray[np.float64], noise: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], float, float]:
        """Scale noise to variance 1 and target to variance snr in the crop (without noise: target to 1), and add.

        Returns the crop and the measured ratios in crop and box.
        """
        signal_gain, noise_gain = _gains(self._crop(signal).var(), self._crop(noise).var(), self.settings.snr)
        signal, crowd, noise = signal * signal_gain, crowd * signal_gain, noise * noise_gain
        volume = np.round(self._crop(signal + crowd + noise) / GRID) * GRID
        snr_crop = _ratio(self._crop(signal), self._crop(noise))
        return volume.astype(np.float32), snr_crop, _ratio(signal, noise)

    def _crop(self, volume: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = slice(self.settings.pad, self.settings.pad + self.settings.box)
        return volume[inside, inside, inside]


def _gains(signal_variance: float, noise_variance: float, snr: float) -> tuple[float, float]:
    if np.isinf(snr):
        return 1 / np.sqrt(signal_variance), 0.0
    return np.sqrt(snr / signal_variance), 1 / np.sqrt(noise_variance)


def _ratio(signal: NDArray[np.float64], noise: NDArray[np.float64]) -> float:
    noise_variance = noise.var()
    return float(signal.var() / noise_variance) if noise_variance else float("inf")
