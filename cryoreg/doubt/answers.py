"""What is asked of a learner where doubt matters, in one pass: logits, features, and what volumes look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryoreg.contracts import Answer, Learner
from cryoreg.doubt.appearance import APPEARANCE, appearance

if TYPE_CHECKING:
    from cryoreg.registry import Component

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


def well_formed(answer: object, count: int, classes: int, component: Component) -> Answer:
    """Return an answer to ``count`` volumes; raise `BrokenComponentError`, of the learner's, where it cannot be one."""
    if not isinstance(answer, Answer):
        raise component.faulty(f"answers with no cryoreg.contracts.Answer, but a {type(answer).__name__}")
    if answer.logits.shape != (count, classes):
        shape = tuple(answer.logits.shape)
        raise component.faulty(f"answers to {count} volumes of {classes} classes with logits {shape}")
    return answer


def require_finite(logits: Tensor | Floats, component: Component) -> None:
    """Raise `BrokenComponentError`, of the learner's, where not all logits are finite."""
    if not np.isfinite(np.asarray(logits)).all():
        raise component.faulty(
            "answers with logits that are not finite",
            f"lower training.lr, set training.precision=fp32, or update {component.dist}",
        )


def answer_in_full(learner: Learner, x: Tensor, classes: int, component: Component) -> Tensor:
    """Return logits, features and `appearance` (B, classes + num_features + 7), float32, of (B, 1, D, H, W).

    Raises `BrokenComponentError`, of the learner's ``component``, where it gives no logits (B, classes).
    """
    logits, features = well_formed(learner.answer(x), len(x), classes, component)
    return torch.cat([logits.float(), features.float(), appearance(x)], dim=1)
