"""Prototypes: the unit vectors that SwAV and DINO assign subtomograms to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Prototypes(nn.Linear):
    """``count`` unit vectors of length ``dim``, which stay exactly as they began for the first ``freeze_steps``.

    They take gradients all along, as DDP wants of every parameter; the optimizer's updates, weight decay and momentum
    included, are undone in `after_step`.
    """

    def __init__(self, dim: int, count: int, freeze_steps: int) -> None:
        super().__init__(dim, count, bias=False)
        self.freeze_steps = freeze_steps
        self.to_unit_length()

    def forward(self, z: Tensor) -> Tensor:
        """Return the cosine similarity (B, count) of each of ``z`` (B, dim) to each prototype."""
        if self.freeze_steps > 0:
            self._before_step = self.weight.detach().clone()
        return super().forward(F.normalize(z, dim=1))

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Undo the update of a frozen step, and normalise after another."""
        if step < self.freeze_steps:
            self.weight.copy_(self._before_step)
        else:
            self.to_unit_length()

    @torch.no_grad()
    def to_unit_length(self) -> None:
        """Bring every prototype to unit length."""
        self.weight.copy_(F.normalize(self.weight, dim=1))
