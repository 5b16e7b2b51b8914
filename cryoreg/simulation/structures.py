"""What the simulator places: a structure is a weighted point cloud."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(N, 3), columns x, y, z."""


@dataclass(frozen=True)
class Structure:
    """A macromolecule as points (N, 3) in Å about its centre of mass, with masses (N,) in Da."""

    name: str
    points: Points
    masses: NDArray[np.float64]

    @classmethod
    def centred(cls, name: str, points: Points, masses: NDArray[np.float64]) -> Structure:
        """Move the centre of mass to the origin."""
        return cls(name, points - masses @ points / masses.sum(), masses)

    @cached_property
    def mass(self) -> float:
        """Total mass, Da."""
        return float(self.masses.sum())

    @cached_property
    def radius(self) -> float:
        """Distance of the outermost point from the centre of mass, Å."""
        return float(np.linalg.norm(self.points, axis=1).max())

    @property
    def radius_of_gyration(self) -> float:
        """Root mean square distance from the centre of mass, weighted by mass, Å."""
        return float(np.sqrt(self.masses @ np.square(self.points).sum(axis=1) / self.mass))


def thin(points: Points, masses: NDArray[np.float64], spacing: float) -> tuple[Points, NDArray[np.float64]]:
    """Merge the points in each cell of a grid of ``spacing`` Å at their centre of mass, with all of their mass."""
    cells = np.floor((points - points.min(axis=0)) / spacing + 1e-6).astype(np.int64)
    flat = np.ravel_multi_index(tuple(cells.T), tuple(cells.max(axis=0) + 1))
    _, cell = np.unique(flat, return_inverse=True)
    merged = np.bincount(cell, masses.astype(np.float64)).astype(np.float64)
    centres = np.stack([np.bincount(cell, masses * axis) for axis in points.T], axis=1) / merged[:, None]
    return centres, merged
