"""Chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryoreg.contracts import Pool, Query


class Chance(Query):
    """Draws at random."""

    def choose(self, pool: Pool, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return rows without a label, drawn without replacement."""
        return rng.permutation(pool.unlabelled)[:count]
