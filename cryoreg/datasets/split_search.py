"""The search for a split that leaves every tomogram whole."""

from __future__ import annotations

import numpy as np

_SWEEPS = 10
_PENALTY = 10.0
_EPSILON = 1e-9


class Search:
    """Coordinate descent over which part each unit (tomogram) goes to.

    The cost is the summed square of each class's deviation from its share in each part, relative to the class, plus
    a penalty for every class that a part lacks.
    """

    def __init__(self, tallies: np.ndarray, shares: np.ndarray) -> None:
        """Take class counts per unit (units, classes) and the parts' shares."""
        self.tallies, self.shares = tallies, shares
        self.totals = tallies.sum(axis=0)
        self.open = np.flatnonzero(shares)
        self._one_hot = np.eye(len(shares), dtype=np.int64)

    def have(self, parts: np.ndarray) -> np.ndarray:
        """Return the class counts of each part, (parts, classes)."""
        return np.stack([self.tallies[parts == part].sum(axis=0) for part in range(len(self.shares))])

    def cost(self, parts: np.ndarray) -> float:
        """Return how far an assignment is from the shares."""
        return float(self._cost(self.have(parts)))

    def _cost(self, have: np.ndarray) -> np.ndarray:
        deviation = have / self.totals - self.shares[:, None]
        lacking = (have == 0) & (self.shares[:, None] > 0)
        return (deviation**2 + _PENALTY * lacking).sum(axis=(-2, -1))

    def descend(self, order: np.ndarray) -> np.ndarray:
        """Cut the units, in ``order``, by the shares; then move single units while that helps."""
        parts = self._cut(order)
        have = self.have(parts)
        for _ in range(_SWEEPS):
            if sum(self._move(unit, parts, have) for unit in order) == 0:
                break
        return parts

    def _move(self, unit: int, parts: np.ndarray, have: np.ndarray) -> bool:
        """Put a unit where the cost is least, updating ``parts`` and ``have``; tell whether it moved."""
        here, tally = parts[unit], self.tallies[unit]
        have[here] -= tally
        costs = self._cost(have + self._one_hot[:, :, None] * tally)
        best = self.open[costs[self.open].argmin()]
        parts[unit] = best if costs[best] < costs[here] - _EPSILON else here
        have[parts[unit]] += tally
        return bool(parts[unit] != here)

    def _cut(self, order: np.ndarray) -> np.ndarray:
        sizes = self.tallies.sum(axis=1)[order]
        middles = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
        parts = np.empty(len(order), dtype=np.int64)
        parts[order] = self.open[np.searchsorted(np.cumsum(self.shares[self.open])[:-1], middles)]
        return parts
