"""What is asked of a learner where doubt matters, in one pass: logits, features, and what volumes look like."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryoreg.contracts import Learner
from cryoreg.doubt.appearance import APPEARANCE, appearance

Floats = NDArray[np.float64]


class Answers(NamedTuple):
    """A learner's answers to N subtomograms."""

    logits: Floats
    """(N, classes)."""
    features: Floats
    """(N, num_features)."""
    appearance: Floats
    """(N, `APPEARANCE`)."""

    @classmethod
    def split(cls, columns: NDArray[np.floating], classes: int) -> Self:
        """Take apart what `answer_in_full` put side by side."""
        ends = [classes, columns.shape[1] - len(APPEARANCE)]
        return cls(*np.split(columns.astype(np.float64), ends, axis=1))

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Return some rows."""
        return type(self)(*(part[rows] for part in self))

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The most probable class of each."""
        return self.logits.argmax(1)


def answer_in_full(learner: Learner, x: Tensor) -> Tensor:
    """Return logits, features and `appearance` (B, classes + num_features + 7), float32, of (B, 1, D, H, W)."""
    logits, features = learner.answer(x)
    return torch.cat([logits.float(), features.float(), appearance(x)], dim=1)
