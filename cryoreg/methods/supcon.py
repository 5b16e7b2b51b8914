"""SupCon: supervised contrastive learning (Khosla et al. 2020, arXiv 2004.11362)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from lightly.models.modules.heads import SimCLRProjectionHead
from lightly.models.utils import concat_all_gather
from lightly.utils import dist
from torch import Tensor

from cryoreg.contracts import Encoder, Method, StepOutput


class SupCon(Method):
    """Pull all views of all subtomograms of one class together, away from the others of the batch.

    An unlabelled subtomogram is a class of its own, so without any label this is SimCLR. The batches of all processes
    are gathered. ``collapsed_loss`` is that of the latest batch.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        temperature: float,
        hidden_dim: int,
        output_dim: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = SimCLRProjectionHead(encoder.num_features, hidden_dim, output_dim, batch_norm=False)
        self.temperature = temperature

    def forward(self, views: Sequence[Tensor], labels: Tensor | None = None) -> StepOutput:
        """Return the loss of two views (B, 1, D, H, W) and labels (B,), -1 where unknown, B >= 2, in float32."""
        first, second = (self.encoder(view) for view in views)
        classes = own_class_if_unknown(labels if labels is not None else first.new_full((len(first),), -1).long())
        with torch.autocast(first.device.type, enabled=False):
            projections = F.normalize(self.head(torch.cat([first, second]).float()), dim=1)
            loss = contrast(projections, classes.repeat(2), self.temperature)
        self.collapsed_loss = math.log(len(projections) * dist.world_size() - 1)
        return StepOutput(loss, first.detach(), second.detach())


def own_class_if_unknown(labels: Tensor) -> Tensor:
    """Number each unknown one of ``labels`` (B,) by itself: -1, -2, ..., other numbers on other processes."""
    own = -1 - dist.rank() * len(labels) - torch.arange(len(labels), device=labels.device)
    return torch.where(labels < 0, own, labels)


def contrast(z: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Return equation 2 of the paper (the sum outside the logarithm) for this process's anchors.

    ``z`` (N, dim) are unit vectors and ``classes`` (N,) theirs; positives and negatives come from all processes.
    """
    anchors = torch.arange(len(z), device=z.device)
    everyone, all_classes, itself = z, classes, anchors
    if dist.world_size() > 1:
        everyone, all_classes = torch.cat(dist.gather(z)), concat_all_gather(classes)
        itself = anchors + dist.rank() * len(z)
    similarity = z @ everyone.T / temperature
    similarity[anchors, itself] = -math.inf
    positive = classes[:, None] == all_classes
    positive[anchors, itself] = False
    log_probability = similarity.log_softmax(1).masked_fill(~positive, 0)
    return -(log_probability.sum(1) / positive.sum(1)).mean()
