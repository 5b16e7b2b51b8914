"""Learners that leave the encoder as it is, taught by features that are there already."""

from __future__ import annotations

import sys

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import cryoreg
from cryoreg.contracts import Encoder, Material

UNLABELLED = -1
"""The label of a subtomogram whose class is not shown, as scikit-learn's."""


class Handed(Encoder):
    """Takes features for volumes (B, 1, 1, 1, num_features), and hands them on."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward_features(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def _as_volumes(features: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(features).float()[:, None, None, None]


class FrozenLearner:
    """A registered learner of one epoch that takes no step, with scikit-learn's habits."""

    def __init__(self, name: str) -> None:
        self.name = name

    @staticmethod
    def require(name: str) -> None:
        """Stop where there is no such learner, or it trains by steps."""
        learner = cryoreg.create_learner(name, Handed(2), classes=2)
        if any(parameter.requires_grad for parameter in learner.parameters()):
            sys.exit(f"--learners {name}: it is trained by steps, which features alone do not allow")

    @torch.no_grad()
    def fit(self, features: NDArray[np.floating], labels: NDArray[np.int64]) -> FrozenLearner:
        """Learn from features (N, num_features) and labels (N,), `UNLABELLED` where not shown."""
        shown = labels != UNLABELLED
        x, y = _as_volumes(features), torch.from_numpy(labels)
        material = Material(labelled=[(x[shown], y[shown])], validation=[], unlabelled=[x[~shown]])
        self.learner = cryoreg.create_learner(self.name, Handed(features.shape[1]), classes=int(labels.max()) + 1)
        self.learner.begin_epoch(0, 1, material)
        self.learner.eval()
        return self

    @torch.no_grad()
    def predict(self, features: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the classes (N,)."""
        answer = self.learner.answer(_as_volumes(features))
        classes: NDArray[np.int64] = answer.logits.argmax(1).numpy()
        return classes
