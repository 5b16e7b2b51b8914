"""How the subtomograms of each tomogram share out over classes or clusters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_NEARLY_ALL = 0.8
_CHANCE = 1e-3
_LEAST = 10
"""Members of a group that are worth a word."""


class Shares(NamedTuple):
    """Counts of tomograms × groups."""

    what: str
    """ "label", "prediction" or "cluster"."""
    tomograms: list[str]
    groups: list[str]
    counts: NDArray[np.int64]
    """(tomograms, groups)."""

    @property
    def totals(self) -> NDArray[np.int64]:
        """(tomograms,)."""
        return self.counts.sum(1)

    def lone(self) -> list[tuple[str, str, float]]:
        """Return the groups that are nearly all of one tomogram, and not by chance: group, tomogram, share."""
        if len(self.tomograms) < 2:
            return []
        usual = self.totals / self.totals.sum()
        found = []
        for number, name in enumerate(self.groups):
            column = self.counts[:, number]
            largest = int(column.argmax())
            share = column[largest] / max(1, column.sum())
            if column.sum() >= _LEAST and share >= _NEARLY_ALL and _chance(column, largest, usual) < _CHANCE:
                found.append((name, self.tomograms[largest], float(share)))
        return found


def _chance(column: NDArray[np.int64], largest: int, usual: NDArray[np.float64]) -> float:
    """Return how likely so many of a group are of one tomogram, if it has its ``usual`` share of them."""
    from scipy.stats import binom  # half a second, for what is seldom asked

    return float(binom.sf(column[largest] - 1, column.sum(), usual[largest]))


def shares_of(
    what: str, tomograms: Sequence[str | None], values: Sequence[str | None], order: Sequence[str] = ()
) -> Shares | None:
    """Count what is of a known tomogram and group; None where nothing is. ``order`` is that of the groups."""
    pairs = [
        (one, value) for one, value in zip(tomograms, values, strict=True) if one is not None and value is not None
    ]
    if not pairs:
        return None
    rows = sorted({one for one, _ in pairs}, key=by_number)
    groups = list(order) or sorted({value for _, value in pairs}, key=by_number)
    counts = np.zeros((len(rows), len(groups)), np.int64)
    places = {name: place for place, name in enumerate(rows)}, {name: place for place, name in enumerate(groups)}
    for one, value in pairs:
        counts[places[0][one], places[1][value]] += 1
    return Shares(what, rows, groups, counts)


def by_number(name: str) -> list[tuple[int, str]]:
    """Sort numbers within names by their value: t2 before t10."""
    parts = re.split("([0-9]+)", name)
    return [(int(part), part) if place % 2 else (0, part) for place, part in enumerate(parts)]
