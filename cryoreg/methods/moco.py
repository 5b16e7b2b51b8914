"""MoCo: momentum contrast (He et al. 2020, arXiv 1911.05722; v2: Chen et al. 2020, arXiv 2003.04297)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import MoCoProjectionHead, ProjectionHead
from torch import Tensor, nn

from cryoreg.contracts import Encoder, Method, StepOutput
from cryoreg.methods.queue import Queue
from cryoreg.momentum import follow, momentum_copy


class MoCo(Method):
    """Pull a subtomogram's query towards its key from a momentum encoder, away from a queue of earlier keys.

    The loss is lightly's `NTXentLoss` with our `Queue` as its memory bank. Keys are enqueued, and the momentum encoder
    moves, in `after_step`. Batches are not shuffled between ranks (the paper's guard against BatchNorm telling query
    and key of one batch apart): choose encoders without BatchNorm, or with SyncBatchNorm.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        queue_size: int,
        momentum: float,
        temperature: float,
        head: Literal["v1", "v2"],
        hidden_dim: int,
        output_dim: int,
        symmetric: bool,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = projection_head(head, encoder.num_features, hidden_dim, output_dim)
        self.key_encoder = momentum_copy(self.encoder)
        self.key_head = momentum_copy(self.head)
        self.criterion = NTXentLoss(temperature)
        self.criterion.memory_bank = Queue(queue_size, output_dim)
        self.momentum = momentum
        self.symmetric = symmetric
        self.collapsed_loss = math.log(1 + queue_size)

    @property
    def queue(self) -> Queue:
        """The keys of earlier batches."""
        return self.criterion.memory_bank

    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        """Return the loss of two views (B, 1, D, H, W) of each subtomogram.

        Unless ``symmetric``, the momentum encoder is the only one to see the second view; the features of that view are
        then its own, from weights that lag behind.
        """
        first, second = views
        features = self.encoder(first)
        loss, other_features = self._contrast(features, second)
        if self.symmetric:
            other_features = self.encoder(second)
            loss = (loss + self._contrast(other_features, first)[0]) / 2
        return StepOutput(loss, features.detach(), other_features.detach())

    def after_step(self, step: int, total_steps: int) -> None:
        """Enqueue the step's keys and move the momentum encoder."""
        self.queue.enqueue_pending()
        follow(self.key_encoder, self.encoder, self.momentum)
        follow(self.key_head, self.head, self.momentum)

    def _contrast(self, features: Tensor, key_view: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and the momentum encoder's features of ``key_view``."""
        with torch.no_grad():
            key_features = self.key_encoder(key_view)
        # The views' features differ little at first, so projections and loss are in float32.
        with torch.autocast(features.device.type, enabled=False):
            queries = self.head(features.float())
            with torch.no_grad():
                keys = self.key_head(key_features.float())
            return self.criterion(queries, keys), key_features


def projection_head(version: Literal["v1", "v2"], in_dim: int, hidden_dim: int, out_dim: int) -> nn.Module:
    """Return MoCo's head: v1 one linear layer, v2 two with ReLU between."""
    if version == "v1":
        return ProjectionHead([(in_dim, out_dim, None, None)])
    return MoCoProjectionHead(in_dim, hidden_dim, out_dim)
