"""TypiClust."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.neighbors import NearestNeighbors

from cryoreg.contracts import Pool, Query

_SMALLEST = 5
"""Members of a cluster whose typical one is worth a label; smaller clusters come last."""
_RESTARTS = 3


class TypiClust(Query):
    """Chooses typical ones (Hacohen et al. 2022)."""

    def __init__(self, clusters: int, neighbours: int) -> None:
        """Take the most clusters, and the neighbours by which one is typical."""
        self.clusters, self.neighbours = clusters, neighbours

    def choose(self, pool: Pool, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the most typical row of each cluster in turn, those with the fewest labels first."""
        count = min(count, len(pool.unlabelled))
        wanted = min(self.clusters, len(pool.labelled) + count, len(pool.labels))
        if not count:
            return pool.unlabelled
        model = MiniBatchKMeans(wanted, n_init=_RESTARTS, random_state=int(rng.integers(2**31)))
        clusters = model.fit_predict(pool.features.astype(np.float64))
        sizes = np.bincount(clusters, minlength=wanted)
        labelled = np.bincount(clusters[pool.labelled], minlength=wanted)
        members = [self._by_typicality(pool, np.flatnonzero(clusters == number)) for number in range(wanted)]
        chosen: list[int] = []
        while len(chosen) < count:
            open_ = [number for number in range(wanted) if members[number]]
            best = min(open_, key=lambda number: (sizes[number] < _SMALLEST, labelled[number], -sizes[number]))
            chosen.append(members[best].pop(0))
            labelled[best] += 1
        return np.array(chosen, dtype=np.int64)

    def _by_typicality(self, pool: Pool, members: NDArray[np.int64]) -> list[int]:
        """Return the members of a cluster that have no label, the most typical first."""
        unlabelled = pool.labels[members] < 0
        if len(members) < 2:
            return members[unlabelled].tolist()
        count = min(self.neighbours, len(members) - 1)
        distances, _ = NearestNeighbors(n_neighbors=count).fit(pool.features[members]).kneighbors()
        order = np.argsort(distances.mean(axis=1), kind="stable")
        return members[order][unlabelled[order]].tolist()
