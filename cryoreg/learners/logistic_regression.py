"""Logistic regression on features, of any of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NEVER = -100.0
"""The logit of a class without a label."""
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Values of C to choose from."""
FOLDS = 5
_C = "logisticregression__C"


class Fitted(NamedTuple):
    """A linear classifier of k classes."""

    classes: NDArray[np.int64]
    """(k,): which ones."""
    weight: NDArray[np.float64]
    """(k, num_features), of features as they are."""
    bias: NDArray[np.float64]
    """(k,)."""
    strength: float
    """The C that was chosen; 1 where a class has a single label, so that there is nothing to validate with."""


def fit(
    features: NDArray[np.float64],
    labels: NDArray[np.int64],
    folds: int,
    strengths: Sequence[float],
    standardised: bool = True,
    copies: int = 1,
) -> Fitted:
    """Fit logistic regression on features (N, F), its C of the best mean log-likelihood over the folds.

    The features are those of N / ``copies`` subtomograms, then those of their next copies: all of one are in one fold.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) == 1:
        return Fitted(classes, np.zeros((1, features.shape[1])), np.zeros(1), 1.0)
    scaler = StandardScaler(with_mean=standardised, with_std=standardised)
    model = make_pipeline(scaler, LogisticRegression(max_iter=1000))
    if (parts := min(folds, int(counts.min()) // copies)) > 1:
        each = len(labels) // copies
        chooser = StratifiedKFold(parts, shuffle=True, random_state=0).split(features[:each], labels[:each])
        divided = [tuple(np.concatenate([p + k * each for k in range(copies)]) for p in parts) for parts in chooser]
        model = GridSearchCV(model, {_C: list(strengths)}, scoring="neg_log_loss", cv=divided)
        model = model.fit(features, labels).best_estimator_
    else:
        model.fit(features, labels)
    scaler, regression = model[0], model[-1]
    weight, bias = regression.coef_, regression.intercept_
    if standardised:
        weight = weight / scaler.scale_
        bias = bias - weight @ scaler.mean_
    if len(classes) == 2:  # of which scikit-learn describes the second alone
        weight, bias = (np.stack([np.zeros_like(part[0]), part[0]]) for part in (weight, bias))
    return Fitted(classes, weight, bias, float(regression.C))
