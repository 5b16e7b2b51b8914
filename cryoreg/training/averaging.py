"""The exponential moving average of weights, with which is answered instead of the latest ones."""

from __future__ import annotations

from cryoreg.contracts import Learner
from cryoreg.momentum import copy_buffers, follow, momentum_copy


class Averaged:
    """A learner whose weights are θ' ← m·θ' + (1 − m)·θ, m rising to its full value: min(m, (1 + t) / (10 + t)).

    Polyak & Juditsky 1992; in the first steps t, the average would else be of the weights that training began with.
    Buffers are the latest.
    """

    def __init__(self, learner: Learner, momentum: float) -> None:
        self.learner, self.momentum = momentum_copy(learner), momentum

    def follow(self, learner: Learner, step: int) -> None:
        """Move after a step, counted from 0."""
        follow(self.learner, learner, min(self.momentum, (1 + step) / (10 + step)))
        copy_buffers(self.learner, learner)
