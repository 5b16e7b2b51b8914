"""Queries by a score of each subtomogram: how much the classifier doubts what it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cryoreg.contracts import Pool, Query

Floats = NDArray[np.float64]


class Doubt(Query):
    """Chooses the highest scores; equal ones in random order."""

    def __init__(self, score: Callable[[Pool], Floats]) -> None:
        """Take what scores all rows (N,) of a pool."""
        self.score = score

    def choose(self, pool: Pool, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the rows without a label that score highest."""
        rows = rng.permutation(pool.unlabelled)
        return rows[np.argsort(-self.score(pool)[rows], kind="stable")[:count]]


def margin(pool: Pool) -> Floats:
    """Return minus the difference of the two largest probabilities."""
    second, first = np.sort(pool.probabilities, axis=1)[:, -2:].T
    return second - first


def entropy(pool: Pool) -> Floats:
    """Return −Σ p log p, in nats."""
    return -np.sum(pool.probabilities * _logarithms(pool), axis=1)


def gradient_norm(pool: Pool) -> Floats:
    """Return the length of the entropy's gradient by a linear classifier's weights, plus that by its biases."""
    p, logs = pool.probabilities, _logarithms(pool)
    by_logits = -p * (logs + entropy(pool)[:, None])
    return np.linalg.norm(by_logits, axis=1) * (np.linalg.norm(pool.features, axis=1) + 1)


def _logarithms(pool: Pool) -> Floats:
    return np.log(np.maximum(pool.probabilities, np.finfo(np.float64).tiny))
