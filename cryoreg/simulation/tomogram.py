"""A whole tomogram with particles at known places, to test picking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.random import Generator
from numpy.typing import NDArray

from cryoreg.errors import ConfigError
from cryoreg.simulation import optics
from cryoreg.simulation.filters import Filters
from cryoreg.simulation.poses import random_rotation, rotate
from cryoreg.simulation.settings import SceneSettings
from cryoreg.simulation.streams import Purpose, stream
from cryoreg.simulation.structures import Structure

ATTEMPTS = 2000
"""Places tried for each particle."""


class Tomogram(NamedTuple):
    """A simulated tomogram and what is in it."""

    volume: NDArray[np.float32]
    """(D, H, W), axes (z, y, x), density white, the noise's variance 1."""
    positions: NDArray[np.float64]
    """(n, 3): x, y, z of the particles' centres of mass in voxels, the first voxel's centre being 0."""
    labels: NDArray[np.int64]
    """(n,): indices of the structures."""
    rotations: NDArray[np.float64]
    """(n, 3, 3): laboratory = rotation @ structure."""


def simulate_tomogram(
    structures: Sequence[Structure],
    shape: tuple[int, int, int],
    count: int,
    settings: SceneSettings,
    seed: int,
    number: int = 0,
) -> Tomogram:
    """Simulate ``count`` particles, structures in turn, at random in ``shape`` = (D, H, W) voxels without overlap.

    Particles lie wholly inside. ``settings.snr`` is local: the mean over particles of the signal's variance, in the box
    of ``settings.box`` voxels around each (as far as it is inside), over the noise's variance. Crowding, pad, shift and
    SNR region of the settings do not matter. A seed is an endless series of tomograms, of which this is the one of a
    ``number``. Raises `ConfigError` where the particles find no room.
    """
    rng = stream(seed, Purpose.TOMOGRAM, number)
    labels = np.arange(count) % len(structures)
    bodies = [structures[int(label)] for label in labels]
    radii = np.array([body.radius for body in bodies]) / settings.voxel_size
    positions = _place(np.array(shape[::-1]), radii, rng)
    rotations = np.array([random_rotation(rng) for _ in bodies]).reshape(-1, 3, 3)
    density = np.zeros(shape, dtype=np.float32)
    for body, position, rotation in zip(bodies, positions, rotations, strict=True):
        _add(density, body, position, rotation, settings.voxel_size)
    return Tomogram(_image(density, positions, settings, rng), positions, labels, rotations)


def _place(extent: NDArray[np.int64], radii: NDArray[np.float64], rng: Generator) -> NDArray[np.float64]:
    """Return centres (n, 3), x, y, z in voxels, of spheres in a box; random sequential addition."""
    centres = np.empty((0, 3))
    for radius in radii:
        room = extent - 1 - 2 * radius
        tries = radius + rng.uniform(0, 1, (ATTEMPTS if room.min() >= 0 else 0, 3)) * room
        apart = np.linalg.norm(tries[:, None] - centres, axis=-1)
        free = np.flatnonzero((apart >= radius + radii[: len(centres)]).all(axis=1))
        if not len(free):
            raise ConfigError(f"no room for particle {len(centres) + 1} of {len(radii)}; ask for fewer, or more voxels")
        centres = np.concatenate([centres, tries[free[:1]]])
    return centres


def _add(
    density: NDArray[np.float32],
    body: Structure,
    position: NDArray[np.float64],
    rotation: NDArray[np.float64],
    voxel_size: float,
) -> None:
    """Splat a body at a position (x, y, z in voxels) into its part of the density."""
    half = int(np.ceil(body.radius / voxel_size)) + 2
    nearest = np.rint(position).astype(int)
    points = rotate(body.points, rotation) + (position - nearest) * voxel_size
    local = optics.splat(points, body.masses, (2 * half + 1,) * 3, voxel_size)
    first = nearest[::-1] - half
    there = tuple(slice(max(0, f), f + 2 * half + 1) for f in first)
    here = tuple(slice(max(0, -f), edge - f) for f, edge in zip(first, density.shape, strict=True))
    density[there] += local[here].astype(np.float32)


def _image(
    density: NDArray[np.float32], positions: NDArray[np.float64], settings: SceneSettings, rng: Generator
) -> NDArray[np.float32]:
    resolution, defocus = rng.uniform(*settings.resolution), rng.uniform(*settings.defocus)
    k = optics.frequencies(density.shape, settings.voxel_size)
    measured = optics.wedge(k, settings.tilt)
    filters, k_squared = Filters(settings), k.squared
    signal = _filtered(density, measured * filters.signal(k_squared, resolution, defocus))
    local = [signal[_box(position, settings.box)].var(dtype=np.float64) for position in positions]
    if not np.isfinite(settings.snr) or not local:
        return signal
    white = rng.standard_normal(density.shape, dtype=np.float32)
    noise = _filtered(white, measured * filters.noise(k_squared, defocus, measured.astype(float)))
    signal *= np.sqrt(settings.snr / np.mean(local)).astype(np.float32)
    return signal + noise / noise.std(dtype=np.float64).astype(np.float32)


def _filtered(volume: NDArray[np.float32], factor: NDArray[np.float64]) -> NDArray[np.float32]:
    spectrum = scipy.fft.rfftn(volume, workers=1)
    spectrum *= factor.astype(np.float32)
    return scipy.fft.irfftn(spectrum, s=volume.shape, workers=1)


def _box(position: NDArray[np.float64], edge: int) -> tuple[slice, ...]:
    first = np.rint(position[::-1]).astype(int) - edge // 2
    return tuple(slice(max(0, f), f + edge) for f in first)
