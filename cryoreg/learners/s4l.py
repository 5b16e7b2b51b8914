"""S4L: self-supervised semi-supervised learning (Zhai et al. 2019, arXiv 1905.03670)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cryoreg.contracts import Encoder, Lesson, Method, StepOutput
from cryoreg.learners.linear import Head, LinearLearner
from cryoreg.plans import LessonPlan, ViewPlan


class S4L(LinearLearner):
    """Learns the labels, and what a self-supervised method asks of all subtomograms, with or without a label."""

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        build: Callable[[Encoder], Method],
        plan: ViewPlan,
        *,
        weight: float,
        head: Head = "random",
        unit_length: bool = False,
    ) -> None:
        """Take the method as what builds it around the encoder, and the views that it compares."""
        super().__init__(encoder, classes, head=head, unit_length=unit_length)
        self.method, self.plan, self.weight = build(encoder), plan, weight

    def lesson_plan(self) -> LessonPlan:
        """Ask for the method's views of as many subtomograms without a label as with one."""
        return LessonPlan(labelled=self.plan, unlabelled=self.plan)

    def forward(self, lesson: Lesson) -> StepOutput:
        """Return cross-entropy + w · the method's loss."""
        asked: StepOutput = self.method(_all_views(lesson))
        logits, features = self.classify(lesson.views[0])
        loss = F.cross_entropy(logits.float(), lesson.labels) + self.weight * asked.loss
        return StepOutput(loss, features.detach())

    def after_step(self, step: int, total_steps: int) -> None:
        """Let the method do what it does after a step."""
        self.method.after_step(step, total_steps)


def _all_views(lesson: Lesson) -> Sequence[Tensor]:
    if not lesson.unlabelled:
        return lesson.views
    return [torch.cat(both) for both in zip(lesson.views, lesson.unlabelled, strict=True)]
