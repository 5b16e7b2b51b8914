"""How far figures of several seeds lie apart, and whether that says something."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_LEAST = 0.05
"""Points: a smaller standard deviation would be written ± 0.0."""


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean over seeds, and the standard deviation; of one seed, 0."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def varies(sd: float | None) -> bool:
    """Tell whether a standard deviation (points) says something: runs that are all alike are of few subtomograms."""
    return sd is not None and sd >= _LEAST
