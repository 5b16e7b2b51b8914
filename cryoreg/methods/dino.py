"""DINO: self-distillation with no labels (Caron et al. 2021, arXiv 2104.14294)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from lightly.loss import DINOLoss
from lightly.models.modules.heads import ProjectionHead
from torch import Tensor, nn

from cryoreg.contracts import Encoder, Method, StepOutput
from cryoreg.methods.multi_crop import WHOLE, encode
from cryoreg.methods.prototypes import Prototypes
from cryoreg.momentum import follow, momentum_copy, rising_momentum


class DINO(Method):
    """Predict, from every view, how a momentum teacher distributes a whole view over K prototypes.

    The loss is lightly's `DINOLoss`. Center, teacher and prototypes move in `after_step`. The loss of a collapsed
    encoder comes down to ln K and no further.
    """

    steps: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        n_prototypes: int,
        student_temperature: float,
        teacher_temperature: float,
        warmup_temperature: float,
        warmup_steps: int,
        momentum: float,
        center_momentum: float,
        freeze_steps: int,
        hidden_dim: int,
        bottleneck_dim: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = DINOHead(encoder.num_features, hidden_dim, bottleneck_dim, n_prototypes, freeze_steps)
        self.teacher_encoder = momentum_copy(self.encoder)
        self.teacher_head = momentum_copy(self.head)
        self.criterion = CenteredLoss(n_prototypes, student_temp=student_temperature, center_momentum=center_momentum)
        self.warmup = (warmup_temperature, teacher_temperature, warmup_steps)
        self.momentum = momentum
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.collapsed_loss = math.log(n_prototypes)

    def forward(self, views: Sequence[Tensor]) -> StepOutput:
        """Return the loss of two whole views (B, 1, D, H, W) and any number of local ones, in float32."""
        features = encode(self.encoder, views)
        with torch.no_grad():
            teacher_features = encode(self.teacher_encoder, views[:WHOLE])
        with torch.autocast(features[0].device.type, enabled=False):
            scores = self.head(torch.cat(features).float()).chunk(len(views))
            with torch.no_grad():
                targets = self.teacher_head(torch.cat(teacher_features).float()).chunk(WHOLE)
            loss = self.criterion(list(targets), list(scores), self.teacher_temperature())
        return StepOutput(loss, features[0].detach(), features[1].detach())

    def after_step(self, step: int, total_steps: int) -> None:
        """Move the center and the teacher; normalise the prototypes, or undo their update while they are frozen."""
        self.head.prototypes.after_step(step)
        self.criterion.move_center()
        momentum = rising_momentum(self.momentum, step, total_steps)
        follow(self.teacher_encoder, self.encoder, momentum)
        follow(self.teacher_head, self.head, momentum)
        self.teacher_head.prototypes.to_unit_length()
        self.steps.fill_(step + 1)

    def teacher_temperature(self) -> float:
        """Return the teacher's temperature at this step: linear, then constant."""
        first, last, steps = self.warmup
        return first + (last - first) * min(1.0, self.steps.item() / steps) if steps else last


class DINOHead(nn.Module):
    """The paper's head: three layers to a bottleneck, unit length, and the similarity to unit prototypes.

    Lightly's `DINOProjectionHead` is the same with torch's old weight norm, which cannot be copied for a teacher.
    """

    def __init__(self, in_dim: int, hidden_dim: int, bottleneck_dim: int, count: int, freeze_steps: int) -> None:
        super().__init__()
        self.projection = ProjectionHead(
            [
                (in_dim, hidden_dim, None, nn.GELU()),
                (hidden_dim, hidden_dim, None, nn.GELU()),
                (hidden_dim, bottleneck_dim, None, None),
            ]
        )
        self.prototypes = Prototypes(bottleneck_dim, count, freeze_steps)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (B, in_dim) to scores (B, count)."""
        return self.prototypes(self.projection(x))


class CenteredLoss(DINOLoss):
    """Lightly's loss, whose center moves when asked and not while the loss is computed.

    So all losses of a step see one center, and evaluation leaves it alone. Lightly averages it over processes.
    """

    def __init__(self, output_dim: int, student_temp: float, center_momentum: float) -> None:
        super().__init__(output_dim, student_temp=student_temp, center_momentum=center_momentum)
        self._pending: list[Tensor] = []

    def update_center(self, teacher_out: Tensor) -> None:
        """Set the teacher's scores (views, B, K) aside."""
        if torch.is_grad_enabled():
            self._pending.append(teacher_out)

    def move_center(self) -> None:
        """Move the center towards the mean of the scores that were set aside since the last call."""
        if self._pending:
            super().update_center(torch.cat(self._pending, dim=1))
            self._pending.clear()
