"""A linear probe: logistic regression on the features of a frozen encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cryoreg.contracts import Encoder, Material
from cryoreg.learners.full import FullFineTuning


class LinearProbe(FullFineTuning):
    """Fits the linear layer before the first epoch; no step is taken."""

    strength: Tensor

    def __init__(
        self, encoder: Encoder, classes: int, *, folds: int, strengths: Sequence[float], unit_length: bool = False
    ) -> None:
        super().__init__(encoder, classes, unit_length=unit_length)
        self.requires_grad_(False)
        self.folds, self.strengths = folds, tuple(strengths)
        self.register_buffer("strength", torch.tensor(torch.nan))

    def begin_epoch(self, epoch: int, epochs: int, material: Material) -> None:
        """Fit, once: the features of later epochs are the same."""
        if epoch == 0:
            self.strength.fill_(self.fit_head(material.labelled, self.folds, self.strengths))

    def figures(self) -> dict[str, float]:
        """Return the C that cross-validation chose."""
        return {"probe_c": float(self.strength)}
