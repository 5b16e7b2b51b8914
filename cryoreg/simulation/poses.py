"""Random orientations and directions, uniform over SO(3) and the sphere."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray


def random_rotation(rng: Generator) -> NDArray[np.float64]:
    """Return a rotation matrix (3, 3), uniform over SO(3): a normal 4-vector is a uniform quaternion."""
    quaternion = rng.standard_normal(4)
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def random_direction(rng: Generator) -> NDArray[np.float64]:
    """Return a unit vector (3,), uniform over the sphere."""
    vector = rng.standard_normal(3)
    return vector / np.linalg.norm(vector)


def rotate(points: NDArray[np.float64], rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``rotation @ point`` for points (N, 3), spelt out so that no library may sum in another order."""
    x, y, z = points.T
    return np.stack([row[0] * x + row[1] * y + row[2] * z for row in rotation]).T  # each coordinate in one run
