"""A linear probe: logistic regression on the features of a frozen encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryoreg.contracts import Encoder, Material
from cryoreg.learners.full import FullFineTuning
from cryoreg.learners.linear import embedded

NEVER = -100.0
"""The logit of a class without a label."""
_STEP, _C = "logisticregression", "logisticregression__C"


class LinearProbe(FullFineTuning):
    """Fits the linear layer before the first epoch; no step is taken."""

    strength: Tensor

    def __init__(self, encoder: Encoder, classes: int, *, folds: int, strengths: Sequence[float]) -> None:
        super().__init__(encoder, classes)
        self.requires_grad_(False)
        self.folds, self.strengths = folds, tuple(strengths)
        self.register_buffer("strength", torch.tensor(torch.nan))

    def begin_epoch(self, epoch: int, epochs: int, material: Material) -> None:
        """Fit, once: the features of later epochs are the same."""
        if epoch > 0:
            return
        features, labels = embedded(self.encoder, material.labelled)
        found = fit(features.cpu().double().numpy(), labels.cpu().numpy(), self.folds, self.strengths)
        self.head.weight.zero_()
        self.head.bias.fill_(NEVER)
        self.head.weight[found.classes] = torch.from_numpy(found.weight).to(self.head.weight)
        self.head.bias[found.classes] = torch.from_numpy(found.bias).to(self.head.bias)
        self.strength.fill_(found.strength)

    def figures(self) -> dict[str, float]:
        """Return the C that cross-validation chose."""
        return {"probe_c": float(self.strength)}


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


def fit(features: NDArray[np.float64], labels: NDArray[np.int64], folds: int, strengths: Sequence[float]) -> Fitted:
    """Fit logistic regression on standardised features (N, F), its C of the best mean log-likelihood over the folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) == 1:
        return Fitted(classes, np.zeros((1, features.shape[1])), np.zeros(1), 1.0)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    if (parts := min(folds, int(counts.min()))) > 1:
        chooser = StratifiedKFold(parts, shuffle=True, random_state=0)
        model = GridSearchCV(model, {_C: list(strengths)}, scoring="neg_log_loss", cv=chooser)
        model = model.fit(features, labels).best_estimator_
    else:
        model.fit(features, labels)
    scaler, regression = model[0], model[-1]
    weight, bias = regression.coef_ / scaler.scale_, regression.intercept_
    bias = bias - weight @ scaler.mean_
    if len(classes) == 2:  # of which scikit-learn describes the second alone
        weight, bias = (np.stack([np.zeros_like(part[0]), part[0]]) for part in (weight, bias))
    return Fitted(classes, weight, bias, float(regression.C))
