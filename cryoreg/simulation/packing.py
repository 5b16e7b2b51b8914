"""Where the neighbours of a target sit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from cryoreg.simulation.poses import random_direction

ATTEMPTS = 100


def place_around(radius: float, neighbours: Sequence[float], clearance: float, rng: Generator) -> NDArray[np.float64]:
    """Return centres (M, 3), Å, of hard spheres with radii ``neighbours`` around one of ``radius`` at the origin.

    Each lies in a random direction, up to ``clearance`` Å from touching the target; one that finds no room among those
    placed before it raises `ValueError`.
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
    raise ValueError(f"no room for neighbour {len(radii)} of radius {own:.0f} Å; ask for fewer neighbours")
