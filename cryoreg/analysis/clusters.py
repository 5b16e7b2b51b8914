"""What clusters of subtomograms are, and how they are wanted; `clustering` finds them, by scikit-learn."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.errors import ConfigError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Method = Literal["kmeans", "gmm", "leiden"]

AUTO = range(2, 21)
"""The numbers of clusters that "auto" tries."""
STABILITY_RUNS = 5


class ClusterSettings(NamedTuple):
    """How to cluster."""

    method: Method = "kmeans"
    clusters: range = AUTO
    """Numbers of clusters to try; Leiden finds its own."""
    resolution: float = 1.0
    """Leiden's resolution: more, smaller clusters as it grows."""
    neighbours: int = 15
    """Edges of each subtomogram in Leiden's graph."""
    components: int = 50
    """Principal components kept."""
    seed: int = 0


class Clustering(NamedTuple):
    """A cluster for each of N subtomograms; clusters count from 0, the largest first."""

    clusters: Integers
    """(N,)."""
    confidence: Floats
    """(N,), 0 to 1. k-means: 1 − distance to its centre / to the next one; Gaussian mixture: posterior probability;
    Leiden: the share of its edges' weight that stays in the cluster."""
    distance: Floats
    """(N,): to the mean of its cluster, in the space of the principal components."""
    curve: dict[int, float]
    """Number of clusters -> silhouette (k-means: high is good) or BIC (Gaussian mixture: low is good); may be empty."""
    wanted: int | None
    """The number that was given, or that the curve led to (a mixture may leave some empty); None for Leiden."""
    stability: float
    """Mean adjusted Rand index of all pairs of `STABILITY_RUNS` runs with different seeds."""

    @property
    def sizes(self) -> list[int]:
        """The number of members of each."""
        return np.bincount(self.clusters).tolist()

    def nearest(self, cluster: int, number: int) -> Integers:
        """Return the indices of up to ``number`` members, the nearest to the cluster's mean first."""
        members = np.flatnonzero(self.clusters == cluster)
        return members[np.argsort(self.distance[members], kind="stable")[:number]]


class Agreement(NamedTuple):
    """How clusters compare with labels, over the subtomograms that have one."""

    ari: float
    """Adjusted Rand index (Hubert & Arabie 1985): 1 for the same partition, 0 on average for a random one."""
    nmi: float
    """Mutual information over the arithmetic mean of the entropies."""
    purity: float
    """The share that is in the commonest class of its cluster; it grows with the number of clusters."""
    accuracy: float
    """The share that is right if each cluster stands for one class, and each class for one cluster, as well as can be
    (Kuhn 1955)."""
    table: Integers
    """Counts (clusters, classes)."""


def parse_clusters(text: str, method: Method = "kmeans") -> range:
    """Read "auto", a number, or a range such as "5-40", of clusters; raise `ConfigError` for anything else."""
    if text == "auto":
        return AUTO
    if method == "leiden":
        raise ConfigError(f"--clusters {text}: Leiden finds their number; more of them with a higher --resolution")
    first, dash, last = text.partition("-")
    try:
        found = range(int(first), int(last if dash else first) + 1)
    except ValueError:
        found = range(0)
    if not found or found[0] < 2:
        raise ConfigError(f"--clusters {text}: should be auto, a number from 2 on, or a range such as 5-40")
    return found
