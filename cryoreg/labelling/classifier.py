"""What labels teach, at once: logistic regression on features that stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import normalize

from cryoreg.contracts import Pool
from cryoreg.learners.logistic_regression import FOLDS, STRENGTHS, Fitted, fit
from cryoreg.proportions import Proportion

Floats = NDArray[np.float64]


def unit_length(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return features (N, F), each divided by its length."""
    return normalize(features.astype(np.float32))


def pool_of(
    features: NDArray[np.floating],
    labels: NDArray[np.int64],
    classes: int,
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[Pool, Fitted | None]:
    """Return features of length 1, labels (-1: none), and what these teach of each; None below two classes.

    A class without a label has the probability 0; before there are two with one, all have the same. ``strengths`` are
    the values of C to choose from.
    """
    scaled, known = unit_length(features), np.flatnonzero(labels >= 0)
    if len(np.unique(labels[known])) < 2:
        return Pool(scaled, labels, np.full((len(labels), max(1, classes)), 1 / max(1, classes))), None
    taught = fit(scaled[known].astype(np.float64), labels[known], FOLDS, strengths, standardised=False)
    return Pool(scaled, labels, probabilities(taught, scaled, classes)), taught


def probabilities(taught: Fitted, features: NDArray[np.floating], classes: int) -> Floats:
    """Return the probabilities (N, classes) of features (N, F)."""
    logits = features @ taught.weight.T + taught.bias
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    found = np.zeros((len(features), classes))
    found[:, taught.classes] = chances / chances.sum(axis=1, keepdims=True)
    return found


def cross_validated(pool: Pool, taught: Fitted) -> Proportion | None:
    """Return how many labels are guessed from the others: in up to five parts, each by all that is not in it.

    Classes with a single label are learnt from and not guessed; None where there are not two with more.
    """
    known = pool.labelled
    x, y = pool.features[known], pool.labels[known]
    classes, counts = np.unique(y, return_counts=True)
    guessed = np.flatnonzero(np.isin(y, classes[counts > 1]))
    if (counts > 1).sum() < 2:
        return None
    parts = StratifiedKFold(min(FOLDS, int(counts[counts > 1].min())), shuffle=True, random_state=0)
    right = 0
    for _, test in parts.split(guessed, y[guessed]):
        rest = np.setdiff1d(np.arange(len(y)), guessed[test])
        model = LogisticRegression(C=taught.strength, max_iter=1000).fit(x[rest], y[rest])
        right += int((model.predict(x[guessed[test]]) == y[guessed[test]]).sum())
    return Proportion(right, len(guessed))
