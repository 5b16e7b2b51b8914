"""Procedural macromolecular assemblies: bead protomers, arranged by a point group until they touch.

Beads are hard spheres. While a shape is built, their diameter is the unit of length; the total mass and the density of
protein set the scale at the end.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cryoreg.simulation.poses import random_direction, random_rotation
from cryoreg.simulation.streams import Purpose, stream
from cryoreg.simulation.structures import Points, Structure
from cryoreg.simulation.symmetry import POINT_GROUPS, Rotations, generate, one_of_each_pair, point_group

PROTEIN_DENSITY = 0.81
"""Da/Å3, which is 1.35 g/cm3."""
BEAD_VOLUME = 1 / np.sqrt(2)
"""Volume per bead of a face-centred cubic lattice whose nearest neighbours are 1 apart."""
MASS_RANGE = (450e3, 650e3)
BEADS = 560
"""Beads of a whole assembly, about 1 kDa each."""
DOMAIN = 45
"""Beads of a domain, roughly; a protomer has two at least. Domains of one size give all groups a similar texture."""
CONNECTED = 1.5
"""Copies whose nearest beads are at most this far apart, in bead diameters, count as neighbours."""
RADIUS_OF_GYRATION = 66.0
"""Å, wanted of every assembly, so that size alone tells little; a solid sphere of 550 kDa has 42 Å."""
CANDIDATES = 16


@functools.cache
def make_assemblies(seed: int, groups: tuple[str, ...] = POINT_GROUPS) -> tuple[Structure, ...]:
    """Return one assembly for each point group, named after it; the same whatever the other groups are."""
    return tuple(assembly(group, stream(seed, Purpose.STRUCTURE, POINT_GROUPS.index(group))) for group in groups)


def assembly(group: str, rng: Generator) -> Structure:
    """Return an assembly of 450-650 kDa with the given symmetry and beads that touch but do not overlap.

    Of many random candidates that hold together, the one is kept whose radius of gyration is nearest to a value common
    to all groups.
    """
    rotations = point_group(group)
    mass = rng.uniform(*MASS_RANGE)
    drawn = (_candidate(rotations, rng) for _ in itertools.count())
    sound = (_scaled(group, points, mass) for points in drawn if points is not None)
    candidates = itertools.islice(sound, CANDIDATES)
    return min(candidates, key=lambda shape: abs(shape.radius_of_gyration - RADIUS_OF_GYRATION))


def _scaled(name: str, points: Points, mass: float) -> Structure:
    """Give beads of diameter 1 the size at which the assembly of that mass has the density of protein."""
    bead_mass = mass / len(points)
    diameter = np.cbrt(bead_mass / PROTEIN_DENSITY / BEAD_VOLUME)
    return Structure.centred(name, points * diameter, np.full(len(points), bead_mass))


def _candidate(rotations: Rotations, rng: Generator) -> Points | None:
    beads = round(BEADS / len(rotations))
    return arrange(make_protomer(beads, max(2, round(beads / DOMAIN)), rng), rotations, rng)


def make_protomer(beads: int, domains: int, rng: Generator) -> Points:
    """Return (beads, 3) about the origin: ellipsoidal domains of unlike sizes.

    Each is slid towards those before it along a random direction until it touches.
    """
    shares = rng.uniform(0.5, 1.5, domains)
    ends = np.round(np.cumsum(shares) / shares.sum() * beads).astype(int)
    body, *others = [make_domain(count, rng) for count in np.diff(ends, prepend=0)]
    for other in others:
        direction = random_direction(rng)
        body = np.concatenate([body, other + direction * contact_distance(body, other, direction)])
        body -= body.mean(axis=0)
    return body


def make_domain(beads: int, rng: Generator) -> Points:
    """Return an ellipsoid (beads, 3) about the origin, cut from a randomly placed and turned close packing."""
    semi_axes = rng.uniform(0.6, 1.4, 3)
    semi_axes *= np.cbrt(beads * BEAD_VOLUME * 3 / (4 * np.pi) / semi_axes.prod())
    edge = int(np.ceil((semi_axes.max() + 2) * np.sqrt(2)))
    lattice = (_close_packing(edge) + rng.uniform(0, 1, 3)) @ random_rotation(rng)
    depth = np.square(lattice / semi_axes).sum(axis=1)
    inside = np.argpartition(depth, beads - 1)[:beads]
    domain = lattice[inside[np.argsort(depth[inside])]] @ random_rotation(rng)
    return domain - domain.mean(axis=0)


@functools.lru_cache(maxsize=32)
def _close_packing(edge: int) -> Points:
    """Return the points of a face-centred cubic lattice, nearest neighbours 1 apart, in a cube of ±``edge`` / √2."""
    whole = np.arange(-edge, edge + 1)
    grid = np.stack(np.meshgrid(whole, whole, whole, indexing="ij"), axis=-1).reshape(-1, 3)
    return grid[grid.sum(axis=1) % 2 == 0] / np.sqrt(2)


def contact_distance(fixed: Points, moving: Points, direction: NDArray[np.float64]) -> float:
    """Return the distance t at which ``moving + t · direction``, coming from far off, first touches ``fixed``.

    Beads touch at distance 1. For each pair |m + t·u − f|² = 1 is quadratic in t; contact is its largest root. 0 where
    the two miss each other.
    """
    half_b = moving @ direction - (fixed @ direction)[:, None]
    return _largest_root(1.0, half_b, _squared_distances(fixed, moving) - 1)


def _squared_distances(one: Points, others: Points) -> NDArray[np.float64]:
    """Return |p − q|² of (N, 3) and (..., M, 3) as (..., N, M), from the products, with an error of 1e-13 or so."""
    squares = np.square(others).sum(axis=-1)[..., None, :] + np.square(one).sum(axis=1)[:, None]
    return squares - 2 * (one @ np.swapaxes(others, -1, -2))


def _largest_root(a: float | NDArray[np.float64], half_b: NDArray[np.float64], c: NDArray[np.float64]) -> float:
    """Return the largest real root t of any a·t² + 2·half_b·t + c, a > 0; 0 where there is none."""
    discriminant = half_b**2 - a * c
    real = np.nonzero(discriminant >= 0)  # few of them
    divisor = np.broadcast_to(a, discriminant.shape)[real]
    roots = (np.sqrt(discriminant[real]) - half_b[real]) / divisor
    return float(roots.max(initial=0.0))


def arrange(protomer: Points, rotations: Rotations, rng: Generator) -> Points | None:
    """Return the copies g(p + t·u) of a randomly turned protomer p, slid inward along a random u until two touch.

    None where the copies, so placed, do not hold together.
    """
    protomer = protomer @ random_rotation(rng)
    direction = random_direction(rng)
    others = one_of_each_pair(rotations)
    if len(others):
        protomer = protomer + direction * _closest_approach(protomer, others, direction)
        gaps = _squared_distances(protomer, protomer @ np.swapaxes(others, 1, 2)).min(axis=(1, 2))
        if len(generate(others[gaps <= CONNECTED**2])) < len(rotations):
            return None
    return np.concatenate([protomer @ g.T for g in rotations])


def _closest_approach(protomer: Points, others: Rotations, direction: NDArray[np.float64]) -> float:
    """Return the t at which p + t·u first touches any copy g(q + t·u): |p − gq + t(u − gu)|² = 1."""
    copies = protomer @ np.swapaxes(others, 1, 2)
    speed = direction - others @ direction
    half_b = (speed @ protomer.T)[:, :, None] - (copies @ speed[:, :, None])[:, None, :, 0]
    squared_speed = np.square(speed).sum(axis=-1)[:, None, None]
    return _largest_root(squared_speed, half_b, _squared_distances(protomer, copies) - 1)
