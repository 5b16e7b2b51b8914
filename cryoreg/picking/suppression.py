"""Keeps the best of candidates that crowd."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree


def suppress(positions: NDArray[np.number], scores: NDArray[np.number], distance: float) -> NDArray[np.int64]:
    """Return the indices of the candidates to keep, best first, so that no two are less than ``distance`` apart.

    From the best down, each candidate (N, 3) that is still there removes those nearer than ``distance``. Of equal
    scores the earlier candidate goes first.
    """
    order = np.argsort(-scores, kind="stable")
    if len(order) == 0 or distance <= 0:
        return order
    tree = cKDTree(positions)
    nearer = np.nextafter(distance, 0)
    free = np.ones(len(positions), dtype=bool)
    kept = []
    for candidate in order:
        if free[candidate]:
            free[tree.query_ball_point(positions[candidate], nearer)] = False
            kept.append(candidate)
    return np.array(kept, dtype=np.int64)


def within_margin(positions: NDArray[np.number], shape: tuple[int, int, int], margin: float) -> NDArray[np.bool_]:
    """Tell which positions (N, 3), in voxels, lie at least ``margin`` voxels from every face of the volume."""
    last = np.array(shape) - 1
    return np.all((positions >= margin) & (positions <= last - margin), axis=1)
