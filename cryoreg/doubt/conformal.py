"""Strangeness that compares across classes and models: the share of known subtomograms that are at least as strange."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAST_OF_A_CLASS = 20
"""Fewer known subtomograms cannot stand for a class; those of all classes then do."""

Floats = NDArray[np.float64]
Classes = NDArray[np.int64]


def familiarity(known: Floats, known_classes: Classes, strange: Floats, classes: Classes) -> Floats:
    """Return the conformal p-value (n,) of each strangeness: (1 + how many known ones reach it) / (1 + how many known).

    ``known`` (N,) are of subtomograms that the classifier has not learnt from. Each is compared with those of its own
    predicted class where these are at least `LEAST_OF_A_CLASS`, else with all. If it is of the same kind as they are,
    its value is at most p with a probability of p at most (Vovk et al. 2005, Algorithmic learning in a random world).
    """
    values = _share(known, strange)
    for label in np.unique(classes):
        own = known[known_classes == label]
        if len(own) >= LEAST_OF_A_CLASS:
            values[classes == label] = _share(own, strange[classes == label])
    return values


def _share(known: Floats, strange: Floats) -> Floats:
    reached = len(known) - np.searchsorted(np.sort(known), strange, side="left")
    return (1 + reached) / (1 + len(known))
