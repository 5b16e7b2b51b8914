"""What labels teach, at once: logistic regression on features that stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import normalize

from cryoreg.contracts import Pool
from cryoreg.proportions import Proportion

STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
"""Values of C to choose from, for features of length 1."""
UNVALIDATED = 100.0
"""The C where labels are too few to choose one: a smaller one would answer the commonest class."""
_FOLDS = 5

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class Taught(NamedTuple):
    """A classifier of features of length 1."""

    model: LogisticRegression
    accuracy: Proportion | None
    """Of labels guessed from the others, in up to five parts; None where there are not two of two classes.

    Classes with a single label are learnt from, and not guessed.
    """

    @property
    def strength(self) -> float:
        """Its C."""
        return float(self.model.C)

    def probabilities(self, features: NDArray[np.floating], classes: int) -> Floats:
        """Return the probabilities (N, classes) of features (N, F); 0 for a class without a label."""
        found = np.zeros((len(features), classes))
        found[:, self.model.classes_] = self.model.predict_proba(features)
        return found


def unit_length(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return features (N, F), each divided by its length."""
    scaled: NDArray[np.float32] = normalize(features.astype(np.float32))
    return scaled


def pool_of(
    features: NDArray[np.floating], labels: Integers, classes: int, strengths: Sequence[float] = STRENGTHS
) -> tuple[Pool, Taught | None]:
    """Return features of length 1, labels (-1: none), and what these teach of each; None below two classes.

    A class without a label has the probability 0; before there are two with one, all have the same. ``strengths`` are
    the values of C to choose from.
    """
    scaled, known = unit_length(features), np.flatnonzero(labels >= 0)
    if len(np.unique(labels[known])) < 2:
        return Pool(scaled, labels, np.full((len(labels), max(1, classes)), 1 / max(1, classes))), None
    taught = teach(scaled[known], labels[known], strengths)
    return Pool(scaled, labels, taught.probabilities(scaled, classes)), taught


def teach(features: NDArray[np.floating], labels: Integers, strengths: Sequence[float] = STRENGTHS) -> Taught:
    """Fit logistic regression, of two classes or more, its C of the best mean log-likelihood in cross-validation."""
    parts = _parts(labels)
    if not parts:
        strength = strengths[0] if len(strengths) == 1 else UNVALIDATED
        return Taught(_fitted(features, labels, strength), None)
    tried = {strength: _guessed(features, labels, strength, parts) for strength in strengths}
    best = max(tried, key=lambda strength: tried[strength].likelihood)
    return Taught(_fitted(features, labels, best), Proportion(tried[best].right, tried[best].total))


class _Guessed(NamedTuple):
    likelihood: float
    """Sum of log-likelihoods."""
    right: int
    total: int


def _guessed(
    features: NDArray[np.floating], labels: Integers, strength: float, parts: Sequence[tuple[Integers, Integers]]
) -> _Guessed:
    likelihood, right, total = 0.0, 0, 0
    for rest, part in parts:
        model = _fitted(features[rest], labels[rest], strength)
        logs, place = model.predict_log_proba(features[part]), np.searchsorted(model.classes_, labels[part])
        likelihood += float(logs[np.arange(len(part)), place].sum())
        right += int((logs.argmax(axis=1) == place).sum())
        total += len(part)
    return _Guessed(likelihood, right, total)


def _parts(labels: Integers) -> list[tuple[Integers, Integers]]:
    """Return rows to learn from, and rows to guess, of each part; none where no two classes have two labels."""
    classes, counts = np.unique(labels, return_counts=True)
    guessed = np.flatnonzero(np.isin(labels, classes[counts > 1]))
    if (counts > 1).sum() < 2:
        return []
    folds = StratifiedKFold(min(_FOLDS, int(counts[counts > 1].min())), shuffle=True, random_state=0)
    parts = (guessed[test] for _, test in folds.split(guessed, labels[guessed]))
    return [(np.setdiff1d(np.arange(len(labels)), part), part) for part in parts]


def _fitted(features: NDArray[np.floating], labels: Integers, strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=1000).fit(features, labels)
