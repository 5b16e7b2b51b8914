"""Scenes of made-up structures through random microscopes: scene i depends on the seed, the counts and i alone.

Scenes come in sessions of `SESSION`, which share a microscope, as the particles of a few tomograms do; their structures
differ. Signal is scaled so that the target's own variance in the crop is the scene's SNR, the noise's being 1. Where
there is no target (empty ice), a reference body takes its place in that.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cryoreg.simulation import optics
from cryoreg.simulation.microscope import Microscope, Table, Volume
from cryoreg.simulation.poses import random_direction, random_rotation, rotate
from cryoreg.simulation.streams import Purpose, stream
from cryoreg.simulation.structures import Points, Structure
from cryoreg.simulation.universe.bodies import KINDS, cached_body, kind
from cryoreg.simulation.universe.microscopes import Session, session

SESSION = 32
"""Scenes of one microscope."""
NEIGHBOURS = 8
"""At most."""
CLEARANCE = 60.0
"""Å: the largest gap between target and neighbour."""
ATTEMPTS = 10
SNRS = (0.1, 10.0)
NOISELESS = 0.05
"""Share of scenes without noise; none where there is no target, as that would leave nothing."""
SHIFT = 80.0
"""Å: the farthest that a target sits off its box's centre along an axis; 8 voxels of 10 Å."""


class UniverseScene(NamedTuple):
    """One subtomogram, and how it was made."""

    volume: NDArray[np.float32]
    """(box, box, box), axes (z, y, x), at the session's voxel size unless it was resampled."""
    label: int
    """The number of the target's structure."""
    simulated_voxel_size: float
    """Å; the session's."""
    tilt: tuple[float, float]
    """Degrees."""
    tilt_axis_x: bool
    snr_crop: float
    """inf: no noise."""
    defocus: float
    """µm."""
    shift: NDArray[np.float64]
    """(3,): x, y, z of the target from the box's centre voxel, Å."""


class Universe:
    """The endless scenes of ``structures`` structures: scene i shows structure i modulo their number."""

    def __init__(self, structures: int, seed: int = 0, extent: float = 320.0) -> None:
        """Take how many structures there are, and how many Å a box holds at the least."""
        self.structures, self.seed, self.extent = structures, seed, extent
        self._scope = functools.lru_cache(maxsize=8)(self._make_scope)

    def structure(self, label: int) -> Structure:
        """Return a structure, made when it is first wanted."""
        return cached_body(self.seed, label)

    def session(self, index: int) -> Session:
        """Return what scene ``index`` was taken with."""
        return session(self.seed, index // SESSION, self.extent)

    def scenes(self, indices: Iterable[int]) -> Iterator[UniverseScene]:
        """Simulate scenes in the order of their indices."""
        return map(self.scene, indices)

    def scene(self, index: int) -> UniverseScene:
        """Simulate scene ``index``."""
        taken, scope = self._scope(index // SESSION)
        rng = stream(self.seed, Purpose.UNIVERSE_SCENE, index)
        label = index % self.structures
        target, size = self.structure(label), taken.settings.voxel_size
        shift = rng.uniform(-1, 1, 3) * SHIFT * rng.uniform()
        defocus = float(rng.uniform(*taken.settings.defocus))
        noiseless = rng.random() < NOISELESS and len(target.points) > 0
        snr = math.inf if noiseless else float(np.exp(rng.uniform(*np.log(SNRS))))
        transfer = scope.transfer(float(rng.uniform(*taken.settings.resolution)), defocus)
        own = self._image(scope, [rotate(target.points, random_rotation(rng)) + shift], [target], transfer)
        crowd = self._crowd(scope, transfer, target, shift, rng)
        scale = own if len(target.points) else self._image(scope, [_BALL.points], [_BALL], transfer)
        gain = 1 / max(float(scale.std(dtype=np.float64)), 1e-12)
        volume = (own if crowd is None else own + crowd) * gain
        if math.isfinite(snr):
            white = rng.standard_normal(scope.shape, dtype=np.float32)
            grain = scope.crop(scope.filtered_noise(white, defocus))
            volume = volume * math.sqrt(snr) + grain / grain.std(dtype=np.float64)
        if taken.tilt_axis_x:
            volume = np.rot90(volume, axes=(1, 2))
        return UniverseScene(
            np.ascontiguousarray(volume, dtype=np.float32),
            label,
            size,
            taken.settings.tilt,
            taken.tilt_axis_x,
            snr,
            defocus,
            shift,
        )

    def _crowd(
        self, scope: Microscope, transfer: Table, target: Structure, shift: NDArray[np.float64], rng: Generator
    ) -> Volume | None:
        """Return the image of up to `NEIGHBOURS` compact structures around the target; None for none."""
        count = int(rng.integers(0, NEIGHBOURS + 1))
        chosen = rng.integers(self.structures, size=count).tolist()
        compact = [self.structure(number) for number in chosen if KINDS[kind(self.seed, number)].compact]
        bodies = [body for body in compact if len(body.points)]
        centres = _beside(target, bodies, rng)
        placed = [(body, centre) for body, centre in zip(bodies, centres, strict=True) if centre is not None]
        turned = [(body, random_rotation(rng), centre + shift) for body, centre in placed]
        reach = (scope.edge / 2 + 1) * scope.settings.voxel_size
        seen = [each for each in turned if np.abs(each[2]).max() - each[0].radius < reach]
        if not seen:
            return None
        points = [rotate(body.points, turn) + centre for body, turn, centre in seen]
        return self._image(scope, points, [body for body, *_ in seen], transfer)

    def _image(
        self, scope: Microscope, points: Sequence[Points], bodies: Sequence[Structure], transfer: Table
    ) -> Volume:
        """Return the image of bodies in the box."""
        masses = np.concatenate([body.masses for body in bodies])
        density = optics.splat(np.concatenate(points), masses, scope.shape, scope.settings.voxel_size, scope.dtype)
        return scope.crop(scope.passed_signal(density, transfer))

    def _make_scope(self, number: int) -> tuple[Session, Microscope]:
        taken = session(self.seed, number, self.extent)
        return taken, Microscope(taken.settings)


def _beside(target: Structure, bodies: Sequence[Structure], rng: Generator) -> list[NDArray[np.float64] | None]:
    """Return where each body lies, Å from the target and clear of those before it; None where it found no room."""
    placed: list[tuple[NDArray[np.float64], float]] = [(np.zeros(3), target.radius if len(target.points) else 0.0)]
    found: list[NDArray[np.float64] | None] = []
    for body in bodies:
        centre = _free_place(placed, body.radius, rng)
        found.append(centre)
        if centre is not None:
            placed.append((centre, body.radius))
    return found


def _free_place(
    placed: Sequence[tuple[NDArray[np.float64], float]], radius: float, rng: Generator
) -> NDArray[np.float64] | None:
    for _ in range(ATTEMPTS):
        centre = random_direction(rng) * (placed[0][1] + radius + rng.uniform(0, CLEARANCE))
        if all(math.dist(centre, other) >= radius + reach for other, reach in placed):
            return centre
    return None


def _solid_ball(mass: float = 500e3, spacing: float = 7.0) -> Structure:
    radius = np.cbrt(3 / (4 * np.pi) * mass / 0.81)
    line = np.arange(-radius, radius + spacing, spacing)
    grid = np.stack(np.meshgrid(line, line, line), axis=-1).reshape(-1, 3)
    points = grid[np.linalg.norm(grid, axis=1) <= radius]
    return Structure.centred("ball", points, np.full(len(points), mass / len(points)))


_BALL = _solid_ball()
