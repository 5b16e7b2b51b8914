"""SwAV: swapped assignments between views (Caron et al. 2020, arXiv 2006.09882)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from lightly.loss import SwaVLoss
from lightly.models.modules.heads import SwaVProjectionHead
from lightly.utils import dist
from torch import Tensor

from cryoreg.contracts import Encoder, Method, StepOutput
from cryoreg.methods.multi_crop import WHOLE, encode
from cryoreg.methods.prototypes import Prototypes
from cryoreg.methods.queue import Queue


class SwAV(Method):
    """Predict, from each view, the prototypes that a whole view of the same subtomogram is assigned to.

    The loss is lightly's `SwaVLoss`. Assignments spread the batches of all processes, and from step ``queue_start`` on
    a queue of earlier projections with them, evenly over the prototypes. Projections are enqueued, and the prototypes
    normalised, in `after_step`. The loss of a collapsed encoder comes down to ln K and no further.
    """

    steps: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        n_prototypes: int,
        temperature: float,
        epsilon: float,
        iterations: int,
        queue_size: int,
        queue_start: int,
        freeze_steps: int,
        hidden_dim: int,
        output_dim: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = SwaVProjectionHead(encoder.num_features, hidden_dim, output_dim)
        self.prototypes = Prototypes(output_dim, n_prototypes, freeze_steps)
        self.queue = Queue(queue_size, WHOLE * output_dim) if queue_size else None
        self.criterion = SwaVLoss(temperature, iterations, epsilon, sinkhorn_gather_distributed=True)
        self.queue_start = queue_start
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.collapsed_loss = math.log(n_prototypes)

    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        """Return the loss of two whole views (B, 1, D, H, W) and any number of local ones, B >= 2, in float32."""
        features = encode(self.encoder, views)
        # The Sinkhorn algorithm exponentiates 20 times the similarity: NaN in float16.
        with torch.autocast(features[0].device.type, enabled=False):
            projections = self.head(torch.cat(features).float()).chunk(len(views))
            scores = [self.prototypes(z) for z in projections]
            earlier = self._earlier_scores(projections[:WHOLE])
            loss = self.criterion(scores[:WHOLE], scores[WHOLE:], earlier)
        return StepOutput(loss.squeeze(), features[0].detach(), features[1].detach())

    def after_step(self, step: int, total_steps: int) -> None:
        """Enqueue the step's projections; normalise the prototypes, or undo their update while they are frozen."""
        self.prototypes.after_step(step)
        if self.queue is not None:
            self.queue.enqueue_pending()
        self.steps.fill_(step + 1)

    @torch.no_grad()
    def _earlier_scores(self, projections: Sequence[Tensor]) -> list[Tensor] | None:
        """Set the whole views' ``projections`` aside; return the scores of the queue's once it is in use.

        The queue is the same on all processes, so each adds its share.
        """
        if self.queue is None:
            return None
        _, stored = self.queue(torch.cat(list(projections), dim=1), update=projections[0].requires_grad)
        share = stored.T[dist.rank() :: dist.world_size()]
        return [self.prototypes(z) for z in share.chunk(WHOLE, dim=1)] if self.steps >= self.queue_start else None
