"""Where the neighbours of a target sit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cryoreg.errors import ConfigError
from cryoreg.simulation.poses import random_direction

ATTEMPTS = 100


def place_around(radius: float, neighbours: Sequence[float], clearance: float, rng: Generator) -> NDArray[np.float64]:
    """Return centres (M, 3), Å, of hard spheres with radii ``neighbours`` around one of ``radius`` at the origin.

    Each lies in a random direction, up to ``clearance`` Å from touching the target; one that finds no room among those
    placed before it raises `ConfigError`.
    """
    centres = np.zeros((1, 3))
    radii = np.array([radius, *neighbours])
    for placed in range(1, len(radii)):
        centre = _free_place(centres, radii[:placed], radii[placed], clearance, rng)
        centres = np.concatenate([centres, centre[None]])
    return centres[1:]


def _free_place(
    centres: NDArray[np.float64], radii: NDArray[np.float64], own: float, clearance: float, rng: Generator
) -> NDArray[np.float64]:
    for _ in range(ATTEMPTS):
        centre = random_direction(rng) * (radii[0] + own + rng.uniform(0, clearance))
        if np.all(np.linalg.norm(centre - centres, axis=1) >= radii + own):
            return centre
    raise ConfigError(f"no room for neighbour {len(radii)} of radius {own:.0f} Å; ask for fewer neighbours")


STEPS = 120
PULL = 0.15
"""Share of its distance from the centroid that a sphere is pulled in the first step; it falls to 0 in the last."""


def pack(starts: NDArray[np.float64], radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return centres (B, M, 3) of hard spheres, drawn together from ``starts`` (B, M, 3) until they touch, in Å.

    Gradient descent as in Liu et al. 2020 (BMC Bioinformatics 21:399): each step attracts spheres of ``radii`` (B, M)
    to the centroid of their scene and pushes overlapping pairs apart. At the end a scene in which some pair still
    overlaps is blown up until none does. Scenes do not influence each other, to the last bit.
    """
    centres = starts.copy()
    reach = radii[:, :, None] + radii[:, None, :]
    for step in range(STEPS):
        offsets = centres - centres.sum(axis=1, keepdims=True) / centres.shape[1]
        push = _overlap_push(centres, reach)
        centres = centres - PULL * (1 - step / STEPS) * offsets + push
    return centres * _needed_growth(centres, reach)[:, None, None]


def _pair_distances(centres: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return vectors (B, M, M, 3) from j to i and their lengths; infinite from a sphere to itself."""
    apart = centres[:, :, None] - centres[:, None]
    distance = np.sqrt(apart[..., 0] ** 2 + apart[..., 1] ** 2 + apart[..., 2] ** 2)
    own = np.eye(centres.shape[1], dtype=bool)
    return apart, np.where(own, np.inf, np.maximum(distance, 1e-6))


def _overlap_push(centres: NDArray[np.float64], reach: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how much each sphere (B, M, 3) is moved to halve its overlaps with the others."""
    apart, distance = _pair_distances(centres)
    overlap = np.maximum(0, reach - distance)
    return (apart * (0.5 * overlap / distance)[..., None]).sum(axis=2)


def _needed_growth(centres: NDArray[np.float64], reach: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the factor (B,) by which a scene must grow so that no two spheres overlap."""
    _, distance = _pair_distances(centres)
    return np.maximum(1, (reach / distance).max(axis=(1, 2)) * (1 + 1e-12))
