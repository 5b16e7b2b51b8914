"""Mean teacher: agree with one's own moving average (Tarvainen & Valpola 2017, arXiv 1703.01780)."""

from __future__ import annotations

import copy
import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from cryoreg.contracts import Encoder, Lesson, Material, StepOutput
from cryoreg.learners.linear import Head, LinearLearner
from cryoreg.momentum import copy_buffers, follow
from cryoreg.plans import LessonPlan, ViewPlan


class MeanTeacher(LinearLearner):
    """A student learns; its moving average, the teacher, answers, and is what the student is to agree with.

    ``encoder`` and ``head`` are the teacher's. It stays in evaluation mode, with the student's BatchNorm statistics.
    """

    consistency: Tensor

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        *,
        weight: float,
        ramp: float,
        momentum: float,
        late_momentum: float,
        ratio: int,
        head: Head = "random",
        unit_length: bool = False,
    ) -> None:
        super().__init__(encoder, classes, head=head, unit_length=unit_length)
        self.student, self.student_head = copy.deepcopy(self.encoder), copy.deepcopy(self.head)
        self.encoder.requires_grad_(False)
        self.head.requires_grad_(False)
        self.weight, self.ramp, self.momentum, self.late_momentum = weight, ramp, momentum, late_momentum
        self.ratio = ratio
        self.register_buffer("consistency", torch.tensor(weight * ramp_up(0.0)))

    def lesson_plan(self) -> LessonPlan:
        """Ask for two views of everything: the student's and the teacher's."""
        return LessonPlan(labelled=ViewPlan(2), unlabelled=ViewPlan(2), ratio=self.ratio)

    def train(self, mode: bool = True) -> Self:
        """Keep the teacher in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def begin_epoch(self, epoch: int, epochs: int, material: Material) -> None:
        """Let the student begin with the teacher's layer."""
        super().begin_epoch(epoch, epochs, material)
        if epoch == 0:
            self.student_head.load_state_dict(self.head.state_dict())

    def forward(self, lesson: Lesson) -> StepOutput:
        """Return cross-entropy + w · mean squared difference of the student's and the teacher's probabilities."""
        first, second = (torch.cat(views) for views in zip(lesson.views, *_pairs(lesson), strict=True))
        features = self.student(first)
        logits, known = self.student_head(self.seen(features)).float(), len(lesson.labels)
        with torch.no_grad():
            taught = F.softmax(self.classify(second).logits.float(), dim=1)
        apart = (F.softmax(logits, dim=1) - taught).square().mean()
        loss = F.cross_entropy(logits[:known], lesson.labels) + self.consistency * apart
        return StepOutput(loss, features[:known].detach())

    def after_step(self, step: int, total_steps: int) -> None:
        """Move the teacher, faster in the first steps; set w for the next step."""
        rising = step < self.ramp * total_steps
        momentum = min(1 - 1 / (step + 1), self.momentum if rising else self.late_momentum)
        for teacher, student in ((self.encoder, self.student), (self.head, self.student_head)):
            follow(teacher, student, momentum)
        copy_buffers(self.encoder, self.student)
        risen = (step + 1) / max(1.0, self.ramp * total_steps)
        self.consistency.fill_(self.weight * ramp_up(risen))

    def figures(self) -> dict[str, float]:
        """Return w, the weight of agreement."""
        return {"consistency_weight": float(self.consistency)}


def _pairs(lesson: Lesson) -> list[tuple[Tensor, Tensor]]:
    return [(lesson.unlabelled[0], lesson.unlabelled[1])] if lesson.unlabelled else []


def ramp_up(risen: float) -> float:
    """Return exp(−5 (1 − t)²) of the share t of the ramp that is done, 1 after it."""
    return math.exp(-5 * (1 - min(1.0, risen)) ** 2)
