"""VICReg: variance, invariance, covariance (Bardes et al. 2022, arXiv 2105.04906)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightly.loss import VICRegLoss
from lightly.models.modules.heads import ProjectionHead
from torch import Tensor, nn

from cryoreg.contracts import Encoder, Method, StepOutput


class VICReg(Method):
    """Pull two views' projections together while each dimension keeps its spread and goes its own way.

    The loss is lightly's `VICRegLoss`; with ``gather``, variance and covariance are those of the batches of all
    processes.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        invariance: float,
        variance: float,
        covariance: float,
        hidden_dim: int,
        output_dim: int,
        gather: bool,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = projector(encoder.num_features, hidden_dim, output_dim)
        self.criterion = VICRegLoss(invariance, variance, covariance, gather_distributed=gather)

    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        """Return the loss of two views (B, 1, D, H, W) of each subtomogram, B >= 2, in float32."""
        first, second = (self.encoder(view) for view in views)
        with torch.autocast(first.device.type, enabled=False):
            loss = self.criterion(self.head(first.float()), self.head(second.float()))
        return StepOutput(loss, first.detach(), second.detach())


def projector(in_dim: int, hidden_dim: int, out_dim: int) -> ProjectionHead:
    """Return the paper's three layers, the last without a bias, as in the authors' code.

    Lightly's `VICRegProjectionHead` has one, but no term of the loss depends on it.
    """
    return ProjectionHead(
        [
            (in_dim, hidden_dim, nn.BatchNorm1d(hidden_dim), nn.ReLU()),
            (hidden_dim, hidden_dim, nn.BatchNorm1d(hidden_dim), nn.ReLU()),
            (hidden_dim, out_dim, None, None, False),
        ]
    )
