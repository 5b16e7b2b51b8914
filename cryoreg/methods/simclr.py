"""SimCLR: contrast within the batch (Chen et al. 2020, arXiv 2002.05709)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from lightly.utils import dist
from torch import Tensor

from cryoreg.contracts import Encoder, Method, StepOutput


class SimCLR(Method):
    """Pull two views of a subtomogram together, away from both views of all others in the batch.

    The loss is lightly's `NTXentLoss`; the batches of all processes are gathered, so each sees all negatives.
    ``collapsed_loss`` is that of the latest batch.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        temperature: float,
        hidden_dim: int,
        output_dim: int,
        batch_norm: bool,
        gather: bool,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = SimCLRProjectionHead(encoder.num_features, hidden_dim, output_dim, batch_norm=batch_norm)
        self.criterion = NTXentLoss(temperature, gather_distributed=gather)

    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        """Return the loss of two views (B, 1, D, H, W) of each subtomogram, B >= 2, in float32."""
        first, second = (self.encoder(view) for view in views)
        with torch.autocast(first.device.type, enabled=False):
            loss = self.criterion(self.head(first.float()), self.head(second.float()))
        self.collapsed_loss = math.log(2 * len(first) * self._processes() - 1)
        return StepOutput(loss, first.detach(), second.detach())

    def _processes(self) -> int:
        return dist.world_size() if self.criterion.gather_distributed else 1
