"""The core-set query."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_argmin_min

from cryoreg.contracts import Pool, Query


class CoreSet(Query):
    """Covers the features (Sener & Savarese 2018)."""

    def choose(self, pool: Pool, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return rows without a label, each the farthest from those labelled or chosen before it."""
        rows = pool.unlabelled
        features, known = pool.features[rows].astype(np.float64), pool.features[pool.labelled].astype(np.float64)
        count, chosen = min(count, len(rows)), list[int]()
        if not len(known) and count:
            chosen.append(int(np.argmin(_distances(features, features.mean(axis=0)))))
            known = features[chosen]
        nearest = pairwise_distances_argmin_min(features, known)[1] if count else np.empty(0)
        while len(chosen) < count:
            nearest[chosen] = -1
            chosen.append(int(np.argmax(nearest)))
            nearest = np.minimum(nearest, _distances(features, features[chosen[-1]]))
        return rows[chosen]


def _distances(features: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(features - point, axis=1))
