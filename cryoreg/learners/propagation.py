"""Labels that spread over a graph of what looks alike (Zhou et al. 2003; Iscen et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

UNLABELLED = -1
PRECISION = 1e-10
"""To which part of the labels' length the linear equations are solved; what is smaller has not been reached."""


class Spread(NamedTuple):
    """What has spread to N points."""

    labels: Integers
    """(N,): the class of which most has come, or the point's own."""
    weights: Floats
    """(N,): 1 − entropy / log(classes) of the shares of the classes that have a label; 1 of a point's own, 0 where
    nothing has come.
    """


def spread(features: NDArray[np.floating], labels: Integers, neighbours: int, gamma: float, alpha: float) -> Spread:
    """Spread labels (N,), of which those that are not known are -1, over the graph of features (N, F)."""
    known, classes = labels >= 0, np.unique(labels[labels >= 0])
    if known.all() or len(classes) == 1:
        return Spread(np.where(known, labels, classes[0]), known.astype(np.float64))
    mass = diffuse(graph_of(features, neighbours, gamma), labels, alpha)
    return Spread(np.where(known, labels, classes[mass.argmax(1)]), np.where(known, 1.0, certainty(mass)))


def graph_of(features: NDArray[np.floating], neighbours: int, gamma: float) -> csr_array:
    """Return S = D^(-1/2) W D^(-1/2) (N, N), sparse, D the sums of the rows of W = A + Aᵀ.

    A_ij = max(cos(f_i, f_j), 0)^γ where j is one of the nearest neighbours of i by that cosine, else 0, as on the
    diagonal. Takes time N² · F, and room for N · neighbours.
    """
    from scipy.sparse import csr_array, diags_array
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import normalize

    points = normalize(features)
    lengths = (points**2).sum(axis=1)  # 0 of what has no direction, and then no neighbour either
    near = NearestNeighbors(n_neighbors=min(neighbours, len(points) - 1), algorithm="brute").fit(points)
    distances, others = near.kneighbors()  # without an argument, a point is no neighbour of its own
    cosines = (lengths[:, None] + lengths[others] - distances**2) / 2
    rows = np.arange(0, others.size + 1, others.shape[1])
    one_way = csr_array((np.maximum(cosines, 0).ravel() ** gamma, others.ravel(), rows), shape=(len(points),) * 2)
    weights = one_way + one_way.T
    sums = weights.sum(axis=1)
    scale = diags_array(np.divide(1, np.sqrt(sums), out=np.zeros_like(sums), where=sums > 0))
    return (scale @ weights @ scale).tocsr()


def diffuse(graph: csr_array, labels: Integers, alpha: float) -> Floats:
    """Return F = (1 − α·S)⁻¹ Y (N, k), Y_ic = 1 where i has the label c of the k that there are, else 0.

    By conjugate gradients, a class at a time; what they do not resolve is 0.
    """
    from scipy.sparse import eye_array
    from scipy.sparse.linalg import cg

    system = eye_array(len(labels)) - alpha * graph
    sources = (labels[:, None] == np.unique(labels[labels >= 0])).astype(np.float64)
    mass = np.stack([cg(system, source, rtol=PRECISION)[0] for source in sources.T], axis=1)
    resolved = PRECISION * np.linalg.norm(sources, axis=0) / (1 - alpha)  # no eigenvalue is less than 1 − α
    return np.where(mass > resolved, mass, 0)


def certainty(mass: Floats) -> Floats:
    """Return 1 − entropy / log(k) of rows (N, k) as shares of their sums; 0 of a row of zeros."""
    from scipy.special import entr

    sums = mass.sum(axis=1)
    shares = mass / np.where(sums > 0, sums, 1)[:, None]
    return np.where(sums > 0, np.maximum(1 - entr(shares).sum(axis=1) / np.log(mass.shape[1]), 0), 0)
