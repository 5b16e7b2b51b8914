"""SimSiam: simple Siamese representation learning (Chen & He 2021, arXiv 2011.10566)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules.heads import SimSiamPredictionHead, SimSiamProjectionHead
from torch import Tensor

from cryoreg.contracts import Encoder, Method, StepOutput


class SimSiam(Method):
    """Predict one view's projection from the other's; no gradient flows through what is predicted.

    Neither negatives nor a momentum encoder: the stop-gradient and the predictor keep it from collapsing.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        hidden_dim: int,
        output_dim: int,
        predictor_dim: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = SimSiamProjectionHead(encoder.num_features, hidden_dim, output_dim)
        self.predictor = SimSiamPredictionHead(output_dim, predictor_dim, output_dim)
        self.criterion = NegativeCosineSimilarity()

    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        """Return the loss of two views (B, 1, D, H, W) of each subtomogram, B >= 2, in float32."""
        first, second = (self.encoder(view) for view in views)
        with torch.autocast(first.device.type, enabled=False):
            one, other = self.head(first.float()), self.head(second.float())
            losses = self._distance(one, other) + self._distance(other, one)
        return StepOutput(losses / 2, first.detach(), second.detach())

    def _distance(self, projection: Tensor, target: Tensor) -> Tensor:
        return self.criterion(self.predictor(projection), target.detach())
