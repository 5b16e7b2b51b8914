"""Where features lie to each other: clusters, PCA and UMAP, and nearest neighbours.

What works them out is imported where it does: that takes a second, and may be another process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.analysis.clusters import Clustering, ClusterSettings
from cryoreg.errors import DataError

SEED = 0
_COMPONENTS = 50
"""Principal components that UMAP is given."""
_FEWEST_FOR_UMAP = 20

Floats = NDArray[np.float32]


class Layout(NamedTuple):
    """Points in a plane."""

    name: str
    points: Floats
    """(N, 2)."""
    axes: tuple[str, str]


class Neighbours(NamedTuple):
    """The nearest to each, itself left out."""

    rows: NDArray[np.int64]
    """(N, k), the nearest first."""
    cosine: Floats
    """(N, k): cosine of the angle between the features."""

    def agreement(self, labels: Sequence[str | None]) -> tuple[float, float]:
        """Return which share of the neighbours has the label of its query, and which would by chance.

        Unlabelled ones are left out; NaN where no pair is left.
        """
        known, codes = np.unique([label or "" for label in labels], return_inverse=True)
        named = np.array([label is not None for label in labels], bool)
        pairs = named[:, None] & named[self.rows]
        if not pairs.any():
            return math.nan, math.nan
        same = (codes[:, None] == codes[self.rows])[pairs]
        shares = np.bincount(codes[named], minlength=len(known)) / named.sum()
        return float(same.mean()), float((shares**2).sum())


def clusters_of(features: Floats) -> Clustering | None:
    """Return clusters of features (N, F) by the usual settings; None where these are too few, or do not differ."""
    from cryoreg.analysis.clustering import cluster

    try:
        return cluster(features, ClusterSettings())
    except DataError:
        return None


def layouts(features: Floats) -> list[Layout]:
    """Return the first two principal components of features (N, F), and UMAP of the first 50, with a fixed seed.

    McInnes et al. 2018, arXiv 1802.03426. Fewer than 20 subtomograms, or features that are all alike, have no UMAP.
    """
    from sklearn.decomposition import PCA

    from cryoreg.analysis.report.umap import umap

    if len(features) < 2:
        return [Layout("PCA", np.zeros((len(features), 2), np.float32), ("component 1", "component 2"))]
    count = min(_COMPONENTS, *features.shape)
    model = PCA(count, svd_solver="full" if count == min(features.shape) else "randomized", random_state=SEED)
    with np.errstate(invalid="ignore", divide="ignore"):  # features that are all alike have no shares of variance
        components = model.fit_transform(features).astype(np.float32)
        shares = np.nan_to_num(model.explained_variance_ratio_)
    plane = np.pad(components[:, :2], ((0, 0), (0, max(0, 2 - count))))
    shares = np.pad(shares, (0, 2))
    names = (f"component 1 ({100 * shares[0]:.0f} % of the variance)", f"component 2 ({100 * shares[1]:.0f} %)")
    found = [Layout("PCA", plane, names)]
    if len(features) >= _FEWEST_FOR_UMAP and np.ptp(components, axis=0).max() > 0:
        found.insert(0, Layout("UMAP", umap(components), ("UMAP 1", "UMAP 2")))
    return found


def nearest(features: Floats, count: int = 5) -> Neighbours:
    """Return the ``count`` nearest of each by the cosine between features (N, F), or as many as there are."""
    from sklearn.neighbors import NearestNeighbors

    count = min(count, len(features) - 1)
    if count < 1:
        return Neighbours(np.empty((len(features), 0), np.int64), np.empty((len(features), 0), np.float32))
    search = NearestNeighbors(n_neighbors=count, metric="cosine", algorithm="brute").fit(features)
    distances, rows = search.kneighbors()  # without an argument, a point is no neighbour of its own
    return Neighbours(rows.astype(np.int64), (1 - distances).astype(np.float32))
