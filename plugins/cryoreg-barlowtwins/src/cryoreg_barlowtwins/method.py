"""Barlow Twins: redundancy reduction (Zbontar et al. 2021, arXiv 2103.03230)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightly.loss import BarlowTwinsLoss
from lightly.models.modules.heads import BarlowTwinsProjectionHead
from torch import Tensor

from cryoreg.contracts import Encoder, Method, StepOutput


class BarlowTwins(Method):
    """Pull the cross-correlation matrix of two views' projections towards the identity.

    With ``gather``, the matrix is averaged over all processes; each process standardises its own projections first.
    """

    def __init__(
        self,
        encoder: Encoder,
        lambda_param: float = 0.005,
        hidden_dim: int = 1024,
        output_dim: int = 1024,
        gather: bool = True,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = BarlowTwinsProjectionHead(encoder.num_features, hidden_dim, output_dim)
        self.head.layers[-1].register_parameter("bias", None)  # the paper's has none, as the loss would cancel it
        self.criterion = BarlowTwinsLoss(lambda_param, gather_distributed=gather)

    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        """Return the loss of two views (B, 1, D, H, W) of each subtomogram, B >= 2, in float32."""
        first, second = (self.encoder(view) for view in views)
        with torch.autocast(first.device.type, enabled=False):
            loss = self.criterion(self.head(first.float()), self.head(second.float()))
        return StepOutput(loss, first.detach())
