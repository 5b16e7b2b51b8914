"""What labels teach, at once: logistic regression on features that stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from cryoreg.contracts import Pool
from cryoreg.learners.logistic_regression import FOLDS, Fitted, fit
from cryoreg.proportions import Proportion

STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
"""Values of C to choose from, for features of length 1."""


class Taught(NamedTuple):
    """A classifier of features of length 1."""

    model: Fitted

    @property
    def strength(self) -> float:
        """Its C."""
        return self.model.strength

    @property
    def accuracy(self) -> Proportion | None:
        """Of labels guessed from the others, in up to five parts; None where there are not two of two classes."""
        validated = self.model.validated
        return None if validated is None else Proportion(validated.right, validated.total)


def unit_length(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return features (N, F), each divided by its length."""
    scaled: NDArray[np.float32] = normalize(features.astype(np.float32))
    return scaled


def pool_of(
    features: NDArray[np.floating],
    labels: NDArray[np.int64],
    classes: int,
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[Pool, Taught | None]:
    """Return features of length 1, labels (-1: none), and what these teach of each; None below two classes.

    A class without a label has the probability 0; before there are two with one, all have the same. ``strengths`` are
    the values of C to choose from.
    """
    scaled, known = unit_length(features), np.flatnonzero(labels >= 0)
    if len(np.unique(labels[known])) < 2:
        return Pool(scaled, labels, np.full((len(labels), max(1, classes)), 1 / max(1, classes))), None
    model = fit(scaled[known], labels[known], FOLDS, strengths, standardised=False)
    return Pool(scaled, labels, model.probabilities(scaled, classes)), Taught(model)
