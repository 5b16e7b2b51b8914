"""Scenes: a target among its neighbours, seen through the microscope.

    volume = crop( image of (target + neighbours) + noise )

`microscope` says what imaging and noise are, `tilt_series` does the same by projection and back-projection. The wedge
is fixed to the microscope, so it comes after the rotation, and takes signal and noise alike. Protein is white on 0, and
the noise has variance 1 in the region where the SNR counts.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cryoreg.simulation import optics
from cryoreg.simulation.microscope import Microscope, Spectrum, Volume
from cryoreg.simulation.packing import pack, place_around
from cryoreg.simulation.poses import random_rotation, rotate
from cryoreg.simulation.settings import SceneSettings
from cryoreg.simulation.streams import Purpose, stream
from cryoreg.simulation.structures import Points, Structure

__all__ = ["Scene", "SceneSettings", "Simulator"]

GRID = 2.0**-12
"""Volumes are rounded to multiples of this, far below the noise, so that another CPU's last bits do not show."""
BATCH = 32
"""Scenes packed together."""


class Scene(NamedTuple):
    """One simulated subtomogram and how it was made."""

    volume: NDArray[np.float32]
    """(box, box, box), axes (z, y, x)."""
    clean: NDArray[np.float32]
    """The same without its noise."""
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
    """Variance of everything in an otherwise empty cube of `snr_box` voxels over that of the noise in the padded box.

    The target's share is measured; that of each neighbour, which may reach beyond the padded box, is its mean over all
    orientations.
    """


class Plan(NamedTuple):
    """What is drawn for a scene, but for its noise, which comes next from the same stream."""

    label: int
    rotation: NDArray[np.float64]
    shift: NDArray[np.float64]
    resolution: float
    defocus: float
    neighbours: tuple[Structure, ...]
    centres: NDArray[np.float64]
    """(neighbours, 3), Å from the target; for gradient packing (1 + neighbours, 3), from where it starts."""
    rotations: tuple[NDArray[np.float64], ...]
    rng: Generator


class Simulator:
    """Scenes by index: scene i depends on the structures, the settings, the seed and i alone."""

    def __init__(self, structures: Sequence[Structure], settings: SceneSettings, seed: int) -> None:
        self.structures = tuple(structures)
        self.settings = settings
        self.seed = seed
        self.microscope = make_microscope(settings)
        self._transfer = functools.lru_cache(maxsize=1)(self.microscope.transfer)
        self._power = {
            body.name: self.microscope.shell_power(self._splat([body.points], [body])) for body in structures
        }

    def scene(self, index: int) -> Scene:
        """Simulate scene ``index``; its target is structure ``index`` modulo their number."""
        return next(self.scenes([index]))

    def scenes(self, indices: Iterable[int]) -> Iterator[Scene]:
        """Simulate scenes in the order of their indices, a batch at a time."""
        waiting = iter(indices)
        while batch := list(islice(waiting, BATCH)):
            for plan in self.plans(batch):
                yield self._realise(plan)

    def plans(self, indices: Sequence[int]) -> list[Plan]:
        """Draw what is in some scenes and where, and pack them."""
        plans = [self._draw(index) for index in indices]
        if self.settings.packing == "sequential" or not self.settings.neighbours:
            return plans
        packed = pack(np.stack([plan.centres for plan in plans]), np.stack([self._radii(plan) for plan in plans]))
        return [plan._replace(centres=c[1:] - c[0]) for plan, c in zip(plans, packed, strict=True)]

    def _draw(self, index: int) -> Plan:
        rng = stream(self.seed, Purpose.SCENE, index)
        label = index % len(self.structures)
        rotation = random_rotation(rng)
        shift = rng.uniform(-1, 1, 3) * self.settings.max_shift * self.settings.voxel_size
        resolution = rng.uniform(*self.settings.resolution)
        defocus = rng.uniform(*self.settings.defocus)
        chosen = rng.integers(len(self.structures), size=self.settings.neighbours)
        neighbours = tuple(self.structures[i] for i in chosen)
        centres = self._first_centres(self.structures[label], neighbours, rng)
        rotations = tuple(random_rotation(rng) for _ in neighbours)
        return Plan(label, rotation, shift, resolution, defocus, neighbours, centres, rotations, rng)

    def _first_centres(self, target: Structure, neighbours: Sequence[Structure], rng: Generator) -> Points:
        radii = [body.radius for body in neighbours]
        if self.settings.packing == "sequential":
            return place_around(target.radius, radii, self.settings.clearance, rng)
        return rng.standard_normal((1 + len(radii), 3)) * (target.radius + sum(radii))

    def _radii(self, plan: Plan) -> NDArray[np.float64]:
        return np.array([body.radius for body in (self.structures[plan.label], *plan.neighbours)])

    def _realise(self, plan: Plan) -> Scene:
        """Splat, image and add noise."""
        target, scope = self.structures[plan.label], self.microscope
        transfer = self._transfer(plan.resolution, plan.defocus)
        own = scope.passed_signal(self._splat([rotate(target.points, plan.rotation) + plan.shift], [target]), transfer)
        crowd = self._crowd(plan, transfer)
        noise = None
        if np.isfinite(self.settings.snr):
            noise = scope.noise(plan.rng, plan.defocus)
        volume, clean, ratios = self._compose(plan, transfer, own, crowd, noise)
        return Scene(volume, clean, plan.label, plan.rotation, plan.shift, plan.resolution, plan.defocus, *ratios)

    def _crowd(self, plan: Plan, transfer: NDArray[np.float64]) -> Spectrum | None:
        if not plan.neighbours:
            return None
        placed = zip(plan.neighbours, plan.rotations, plan.centres, strict=True)
        points = [rotate(body.points, turn) + (centre + plan.shift) for body, turn, centre in placed]
        return self.microscope.passed_signal(self._splat(points, plan.neighbours), transfer)

    def _splat(self, points: Sequence[Points], bodies: Sequence[Structure]) -> Volume:
        masses, scope = np.concatenate([body.masses for body in bodies]), self.microscope
        return optics.splat(np.concatenate(points), masses, scope.shape, self.settings.voxel_size, scope.dtype)

    def _compose(
        self,
        plan: Plan,
        transfer: NDArray[np.float64],
        own: Spectrum,
        crowd: Spectrum | None,
        noise: Spectrum | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[float, float]]:
        """Scale noise to variance 1 and signal to variance snr in the region (without noise: target to 1, in the crop).

        Returns the crop, its noise-free copy and the measured ratios in crop and box.
        """
        scope = self.microscope
        target = scope.crop(own)
        variances = (float(target.var(dtype=np.float64)), self._box_variance(plan, transfer, own))
        signal = target if crowd is None else target + scope.crop(crowd)
        if noise is None:
            clean = _rounded(signal * (1 / np.sqrt(variances[0])))
            return clean, clean, (float("inf"), float("inf"))
        grain = scope.crop(noise)
        noises = (float(grain.var(dtype=np.float64)), scope.energy(noise) / scope.edge**3)
        region = ("crop", "box").index(self.settings.snr_region)
        signal_gain, noise_gain = np.sqrt(self.settings.snr / variances[region]), 1 / np.sqrt(noises[region])
        signal = signal * signal_gain
        crop, box = (signal_gain**2 * s / (noise_gain**2 * n) for s, n in zip(variances, noises, strict=True))
        return _rounded(signal + grain * noise_gain), _rounded(signal), (float(crop), float(box))

    def _box_variance(self, plan: Plan, transfer: NDArray[np.float64], own: Spectrum) -> float:
        """Return the variance of target and neighbours in an otherwise empty cube of `snr_box` voxels."""
        voxels = self.settings.snr_box**3
        others = np.sum([self._power[body.name] for body in plan.neighbours], axis=0)
        energy = self.microscope.energy(own) + self.microscope.expected_energy(others, transfer)
        mass = sum(body.mass for body in (self.structures[plan.label], *plan.neighbours))
        return energy / voxels - float(mass * transfer[0] / voxels) ** 2


def make_microscope(settings: SceneSettings) -> Microscope:
    """Return what images scenes in the mode that the settings ask for."""
    if settings.mode == "fast":
        return Microscope(settings)
    from cryoreg.simulation.tilt_series import TiltSeries

    return TiltSeries(settings)


def _rounded(volume: NDArray[np.floating]) -> NDArray[np.float32]:
    return (np.round(volume * (1 / GRID)) * GRID).astype(np.float32)
