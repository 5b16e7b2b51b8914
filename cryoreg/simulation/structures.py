"""What the simulator places: a structure is a weighted point cloud."""

from __future__ import annotations

from dataclasses import dataclass

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

    @property
    def mass(self) -> float:
        """Total mass, Da."""
        return float(self.masses.sum())

    @property
    def radius(self) -> float:
        """Distance of the outermost point from the centre of mass, Å."""
        return float(np.linalg.norm(self.points, axis=1).max())

    @property
    def radius_of_gyration(self) -> float:
        """Root mean square distance from the centre of mass, weighted by mass, Å."""
        return float(np.sqrt(self.masses @ np.square(self.points).sum(axis=1) / self.mass))
