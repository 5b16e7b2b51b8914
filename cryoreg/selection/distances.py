"""Distances between the particles of a list, in Å or voxels, never in a unit that nobody knows."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.datasets.particles.particle_list import ParticleList
from cryoreg.datasets.particles.text_lists import UNIT_NAMES
from cryoreg.datasets.tilt_stacks.files import says_flat
from cryoreg.datasets.tilt_stacks.places import places_of
from cryoreg.errors import ConfigError

Sizes = NDArray[np.float64]
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([^\W\d_]*)\s*")


class Distance(NamedTuple):
    """A distance, and in what it is measured."""

    length: float
    """Å, or voxels."""
    in_voxels: bool

    @classmethod
    def parse(cls, text: str) -> Distance:
        """Read "120A", "12 nm" or "8vx"; raise `ConfigError` where the unit is missing."""
        found = _WRITTEN.fullmatch(text)
        size = UNIT_NAMES.get(found[2].lower()) if found else None
        if found is None or size is None or not float(found[1]) > 0:
            raise ConfigError(f"--distance {text}: write a positive number and its unit: 120A, 12nm or 8vx")
        return cls(float(found[1]) * (size or 1), size == 0)

    def __str__(self) -> str:
        """Write it as a user reads it."""
        return f"{self.length:g} {'voxels' if self.in_voxels else 'Å'}"


class Positions(NamedTuple):
    """N particles."""

    places: NDArray[np.float64]
    """(N, 3), in the unit of a distance."""
    sizes: Sizes
    """(N,): Å per unit of the coordinates, 0 where nobody says."""


def positions(
    path: str,
    distance: Distance,
    coordinate_size: float | None,
    optimisation_set: str | None = None,
    unit_sizes: Callable[[], Sizes | None] = lambda: None,
) -> Positions:
    """Return the places of the particles of a list in the unit of ``distance``, shifts included.

    ``coordinate_size`` is Å per unit of the coordinates, where the user says so; the optimisation set that names the
    list tells of its tomograms. Where neither says, ``unit_sizes`` is asked, which returns what tomograms tell (N,).
    Raises `DataError` where the unit of the coordinates is not known, or is another than that of the distance.
    """
    particles = read_particle_list(path, unit_told=coordinate_size is not None)
    counted = particles.unit == "voxel" and path.lower().endswith(".star")
    if coordinate_size is None and not distance.in_voxels and counted and says_flat(Path(path)):
        places = places_of(Path(optimisation_set or path))
        return Positions(places, np.ones(len(places)))
    if coordinate_size is None and particles.are_fractions:
        refuse(
            path, "has coordinates from 0 to 1, fractions of a tomogram's size, which are no distances; write voxels"
        )
    sizes = partial(_sizes, particles, coordinate_size, unit_sizes)
    places = _voxels(particles, sizes) if distance.in_voxels else _angstroms(particles, coordinate_size, sizes)
    told = np.zeros(len(places)) if particles.unit_sizes is None else particles.unit_sizes
    return Positions(places, told if coordinate_size is None else np.full(len(places), coordinate_size))


def _angstroms(particles: ParticleList, told: float | None, sizes: Callable[[], Sizes]) -> NDArray[np.float64]:
    shifts = 0.0 if particles.shifts is None else particles.shifts
    if particles.unit == "centred" or (particles.unit == "angstrom" and told is None):
        return particles.coordinates + shifts
    return particles.coordinates * sizes() + shifts


def _voxels(particles: ParticleList, sizes: Callable[[], Sizes]) -> NDArray[np.float64]:
    if particles.unit in ("angstrom", "centred"):
        refuse(particles.path, "has coordinates in Å; give the distance in Å, too: --distance 120A")
    if particles.shifts is None or not particles.shifts.any():
        return particles.coordinates
    return particles.coordinates + particles.shifts / sizes()


def _sizes(particles: ParticleList, told: float | None, unit_sizes: Callable[[], Sizes | None]) -> Sizes:
    """Return Å per unit of the coordinates, (N, 1)."""
    if told is not None:
        return np.full((len(particles), 1), told)
    found = unit_sizes() if particles.unit_sizes is None else particles.unit_sizes
    if found is None:
        refuse(
            particles.path,
            "does not say how large the voxels of its coordinates are; say --coordinate-size <Å>, or give the distance "
            "in voxels: --distance 8vx",
        )
    return found[:, None]
