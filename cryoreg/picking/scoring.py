"""Picks against known positions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import cKDTree


class Score(NamedTuple):
    """How many particles were found, and how many picks are particles."""

    recall: float
    precision: float
    """NaN where nothing was picked."""


def score(picks: NDArray[np.number], particles: NDArray[np.number], tolerance: float) -> Score:
    """Compare picks (N, 3) with the particles' centres (M, 3), in one unit and order of axes.

    A pick finds a particle at most ``tolerance`` away; each finds one at most, and each particle counts once, paired so
    that as many as possible are found.
    """
    if len(picks) == 0 or len(particles) == 0:
        return Score(0.0, 0.0 if len(picks) else float("nan"))
    near = cKDTree(picks).sparse_distance_matrix(cKDTree(particles), tolerance, output_type="coo_matrix")
    near.data[:] = 1  # a distance of 0 is no edge of a sparse graph
    found = int(np.count_nonzero(maximum_bipartite_matching(near.tocsr(), perm_type="column") >= 0))
    return Score(found / len(particles), found / len(picks))
