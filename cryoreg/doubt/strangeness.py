"""How strange a subtomogram is to a classifier: scores of logits and features, larger where it looks less familiar."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 5
"""The distance is to the so-manyth nearest; to the farthest of fewer."""
WIDEST = 512
"""Features; of more, the covariance is that of so many principal components."""
MOST_REMEMBERED = 2000
"""Features in the bank, drawn evenly from the classes."""
_ROWS = 1000
"""Compared with the bank at a time."""
_NARROWEST = 1e-4
_TINY = 1e-12

Floats = NDArray[np.float64]


class Known(NamedTuple):
    """What is learnt of the features (N, F) and labels (N,) that a classifier was taught with."""

    means: Floats
    """(classes with a label, F)."""
    whitening: Floats
    """(F, R): W Wᵀ is the inverse of the covariance within classes; wide features are first projected, see `WIDEST`."""
    bank: Floats
    """(N, F): the features themselves, or `MOST_REMEMBERED` of them, divided by their length."""


def learn(features: Floats, labels: NDArray[np.int64]) -> Known:
    """Return what scores need of the features (N, F) of labelled subtomograms.

    The covariance within classes is shrunk as by Ledoit and Wolf 2004; where classes have hardly more than one
    subtomogram each, it is that about the mean of all. No direction counts as narrower than a hundredth of the usual.
    """
    from sklearn.covariance import ledoit_wolf

    present, place = np.unique(labels, return_inverse=True)
    means = np.stack([features[place == number].mean(0) for number in range(len(present))])
    spread = features - (means[place] if len(features) >= 2 * len(present) else features.mean(0))
    axes = np.eye(features.shape[1]) if features.shape[1] <= WIDEST else principal_axes(spread, WIDEST)
    covariance, _ = ledoit_wolf(spread @ axes, assume_centered=True)
    remembered = features[np.argsort(labels, kind="stable")][evenly(len(features), MOST_REMEMBERED)]
    return Known(means, axes @ _whitening(covariance), unit_length(remembered))


def _whitening(covariance: Floats) -> Floats:
    """Return W, W Wᵀ being the inverse of a covariance whose variances are at least `_NARROWEST` of their mean."""
    variances, directions = np.linalg.eigh(covariance)
    least = max(_NARROWEST * variances.mean(), _TINY)
    return directions / np.sqrt(np.maximum(variances, least))


def principal_axes(features: Floats, count: int) -> Floats:
    """Return the first ``count`` directions (F, R) of features (N, F) about 0; no more than there are."""
    some = features[evenly(len(features), MOST_REMEMBERED)]
    return np.linalg.svd(some, full_matrices=False)[2][:count].T


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """Return up to ``most`` of ``count`` places, evenly spread."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def max_softmax(known: Known, logits: Floats, features: Floats) -> Floats:
    """Return 1 − max softmax(z) (Hendrycks and Gimpel 2017), as the sum over the other classes: exact near 0."""
    best = np.arange(logits.shape[1]) == logits.argmax(1)[:, None]
    return np.exp(_log_sum(np.where(best, -np.inf, logits)) - _log_sum(logits))


def energy(known: Known, logits: Floats, features: Floats) -> Floats:
    """Return −log Σ exp(z) (Liu et al. 2020); the same for all where logits are log probabilities."""
    return -_log_sum(logits)


def mahalanobis(known: Known, logits: Floats, features: Floats) -> Floats:
    """Return the squared Mahalanobis distance to the nearest class mean (Lee et al. 2018)."""
    return _squared_distances(features @ known.whitening, known.means @ known.whitening).min(1)


def nearest(known: Known, logits: Floats, features: Floats) -> Floats:
    """Return the distance of features of unit length to the `NEIGHBOURS`-th nearest known one (Sun et al. 2022)."""
    place = min(NEIGHBOURS, len(known.bank)) - 1
    parts = [unit_length(features[start : start + _ROWS]) for start in range(0, len(features), _ROWS)]
    squared = [np.partition(_squared_distances(part, known.bank), place, axis=1)[:, place] for part in parts]
    return np.sqrt(np.concatenate(squared))


SCORES: Mapping[str, Callable[[Known, Floats, Floats], Floats]] = {
    "max_softmax": max_softmax,
    "energy": energy,
    "mahalanobis": mahalanobis,
    "nearest": nearest,
}
"""Name -> the strangeness (N,) of logits (N, classes) and features (N, F)."""


def strangeness(known: Known, logits: Floats, features: Floats) -> Floats:
    """Return all `SCORES`, (N, scores)."""
    return np.stack([score(known, logits, features) for score in SCORES.values()], axis=1)


def unit_length(features: Floats) -> Floats:
    """Return features (N, F), each divided by its length."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), _TINY)


def _log_sum(logits: Floats) -> Floats:
    from scipy.special import logsumexp

    return logsumexp(logits, axis=1)


def _squared_distances(points: Floats, others: Floats) -> Floats:
    squared = (points**2).sum(1)[:, None] + (others**2).sum(1) - 2 * points @ others.T
    return np.maximum(squared, 0)
