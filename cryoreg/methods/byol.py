"""BYOL: bootstrap your own latent (Grill et al. 2020, arXiv 2006.07733)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules.heads import BYOLPredictionHead, ProjectionHead
from torch import Tensor, nn

from cryoreg.contracts import Encoder, Method, StepOutput
from cryoreg.momentum import follow, momentum_copy, rising_momentum


class BYOL(Method):
    """Predict, from one view, what a momentum encoder projects the other view to. No negatives.

    The momentum encoder moves in `after_step`, the more slowly the further training has come.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        momentum: float,
        hidden_dim: int,
        output_dim: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = projector(encoder.num_features, hidden_dim, output_dim)
        self.predictor = BYOLPredictionHead(output_dim, hidden_dim, output_dim)
        self.target_encoder = momentum_copy(self.encoder)
        self.target_head = momentum_copy(self.head)
        self.criterion = NegativeCosineSimilarity()
        self.momentum = momentum

    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        """Return the loss of two views (B, 1, D, H, W) of each subtomogram, B >= 2, in float32."""
        first, second = views
        features, other_features = self.encoder(first), self.encoder(second)
        loss = (self._distance(features, second) + self._distance(other_features, first)) / 2
        return StepOutput(loss, features.detach(), other_features.detach())

    def after_step(self, step: int, total_steps: int) -> None:
        """Move the momentum encoder."""
        momentum = rising_momentum(self.momentum, step, total_steps)
        follow(self.target_encoder, self.encoder, momentum)
        follow(self.target_head, self.head, momentum)

    def _distance(self, features: Tensor, target_view: Tensor) -> Tensor:
        with torch.no_grad():
            target_features = self.target_encoder(target_view)
        with torch.autocast(features.device.type, enabled=False):
            prediction = self.predictor(self.head(features.float()))
            with torch.no_grad():
                target = self.target_head(target_features.float())
            return self.criterion(prediction, target)


def projector(in_dim: int, hidden_dim: int, out_dim: int) -> ProjectionHead:
    """Return the paper's two layers, the last without a bias, as in the authors' code.

    Lightly's `BYOLProjectionHead` has one, which the predictor's BatchNorm takes out again.
    """
    return ProjectionHead(
        [
            (in_dim, hidden_dim, nn.BatchNorm1d(hidden_dim), nn.ReLU()),
            (hidden_dim, out_dim, None, None, False),
        ]
    )
