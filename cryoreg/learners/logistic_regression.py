"""Logistic regression on features, of any of the classes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

NEVER = -100.0
"""The logit of a class without a label."""
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Values of C to choose from."""
UNVALIDATED: Mapping[bool, float] = {True: 1.0, False: 100.0}
"""The C where labels are too few to choose one: of standardised features, and of features of length 1.

Of `rb3d_universe` on structures set aside for choosing, one label of a class beside 10 and 50 of another: 90 and 85 %
right (mean over classes), with 30 (which did best at 5 labels a class) 84 and 73 %; with one label of each, alike.
"""
FOLDS = 5

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class Validated(NamedTuple):
    """How well labels are guessed from the others."""

    likelihood: float
    """Mean over the folds of the mean log-likelihood."""
    right: int
    total: int


class Fitted(NamedTuple):
    """A linear classifier of k classes."""

    classes: Integers
    """(k,): which ones."""
    weight: Floats
    """(k, num_features), of features as they are."""
    bias: Floats
    """(k,)."""
    strength: float
    """The C that was chosen."""
    validated: Validated | None
    """Of that C; None where no two classes have two labels, so that there is nothing to choose by."""

    def probabilities(self, features: NDArray[np.floating], classes: int) -> Floats:
        """Return the probabilities (N, classes) of features (N, F); 0 for a class without a label."""
        logits = features @ self.weight.T + self.bias
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        found = np.zeros((len(features), classes))
        found[:, self.classes] = odds / odds.sum(axis=1, keepdims=True)
        return found


def fit(
    features: NDArray[np.floating],
    labels: Integers,
    folds: int = FOLDS,
    strengths: Sequence[float] = STRENGTHS,
    standardised: bool = True,
    copies: int = 1,
) -> Fitted:
    """Fit logistic regression on features (N, F), its C of the best mean log-likelihood over the folds.

    Classes with a single label are learnt from, and not guessed; where no two have more, C is `UNVALIDATED`, or the
    one that there is to choose from. The features are those of N / ``copies`` subtomograms, then those of their next
    copies: all of one are in one fold.
    """
    if len(np.unique(labels)) == 1:
        return fit_with(features, labels, 1.0)
    parts = _parts(labels, folds, copies)
    strength = strengths[0] if len(strengths) == 1 else UNVALIDATED[standardised]
    tried = {}
    if parts:
        tried = {each: _validated(_model(each, standardised), features, labels, parts) for each in strengths}
        strength = max(tried, key=lambda each: tried[each].likelihood)
    return fit_with(features, labels, strength, standardised)._replace(validated=tried.get(strength))


def fit_with(
    features: NDArray[np.floating],
    labels: Integers,
    strength: float,
    standardised: bool = True,
    weights: Floats | None = None,
) -> Fitted:
    """Fit logistic regression of a given C on features (N, F); ``weights`` (N,) are factors on the loss of each."""
    classes = np.unique(labels)
    if len(classes) == 1:
        return Fitted(classes, np.zeros((1, features.shape[1])), np.zeros(1), strength, None)
    model = _learn(_model(strength, standardised), features, labels, weights)
    return Fitted(classes, *_linear(model), strength, None)


def _model(strength: float, standardised: bool) -> Pipeline:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler(with_mean=standardised, with_std=standardised)
    return make_pipeline(scaler, LogisticRegression(C=strength, max_iter=1000))


def _learn(
    model: Pipeline, features: NDArray[np.floating], labels: Integers, weights: Floats | None = None
) -> Pipeline:
    with warnings.catch_warnings():  # scikit-learn doubts that so many classes of so few labels are classes
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
        model.fit(features, labels, logisticregression__sample_weight=weights)
    return model


def _parts(labels: Integers, folds: int, copies: int) -> list[tuple[Integers, Integers]]:
    """Return rows to learn from, and rows to guess, of each fold; none where no two classes have two labels."""
    from sklearn.model_selection import StratifiedKFold

    each = len(labels) // copies
    classes, counts = np.unique(labels[:each], return_counts=True)
    several = counts > 1
    parts = min(folds, int(counts[several].min(initial=folds)))
    if several.sum() < 2 or parts < 2:
        return []
    guessed = np.flatnonzero(np.isin(labels[:each], classes[several]))
    chooser = StratifiedKFold(parts, shuffle=True, random_state=0).split(guessed, labels[guessed])
    tests = [np.concatenate([guessed[test] + copy * each for copy in range(copies)]) for _, test in chooser]
    return [(np.setdiff1d(np.arange(len(labels)), test), test) for test in tests]


def _validated(
    model: Pipeline, features: NDArray[np.floating], labels: Integers, parts: Sequence[tuple[Integers, Integers]]
) -> Validated:
    likelihoods, right, total = [], 0, 0
    for rest, part in parts:
        _learn(model, features[rest], labels[rest])
        logs, place = model.predict_log_proba(features[part]), np.searchsorted(model.classes_, labels[part])
        likelihoods.append(float(logs[np.arange(len(part)), place].mean()))
        right += int((logs.argmax(axis=1) == place).sum())
        total += len(part)
    return Validated(float(np.mean(likelihoods)), right, total)


def _linear(model: Pipeline) -> tuple[Floats, Floats]:
    """Return weight and bias, of features as they are."""
    scaler, regression = model[0], model[-1]
    weight, bias = regression.coef_.astype(np.float64), regression.intercept_.astype(np.float64)
    if scaler.with_std:
        weight = weight / scaler.scale_
        bias = bias - weight @ scaler.mean_
    if len(regression.classes_) == 2:  # of which scikit-learn describes the second alone
        weight, bias = (np.stack([np.zeros_like(part[0]), part[0]]) for part in (weight, bias))
    return weight, bias
