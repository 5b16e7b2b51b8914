"""FixMatch: learn from one's own confident answers (Sohn et al. 2020, arXiv 2001.07685)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, distributed

from cryoreg.contracts import Encoder, Lesson, Material, StepOutput
from cryoreg.learners.linear import Head, LinearLearner
from cryoreg.plans import LessonPlan, ViewPlan


class FixMatch(LinearLearner):
    """What it says of a weak view with confidence is the label of the strong view of the same subtomogram.

    Before that, its probabilities are aligned: p · shares of the labels / its own mean answer p̄, and normalised
    (Berthelot et al. 2020, ReMixMatch, arXiv 1911.09785).
    """

    wanted: Tensor
    answered: Tensor
    counts: Tensor

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        *,
        threshold: float,
        weight: float,
        ratio: int,
        temperature: float,
        align: bool,
        align_momentum: float,
        head: Head = "random",
        unit_length: bool = False,
    ) -> None:
        super().__init__(encoder, classes, head=head, unit_length=unit_length)
        self.threshold, self.weight, self.ratio = threshold, weight, ratio
        self.temperature, self.align, self.align_momentum = temperature, align, align_momentum
        even = torch.full((classes,), 1 / classes)
        self.register_buffer("wanted", even)
        self.register_buffer("answered", even.clone())
        self.register_buffer("counts", torch.zeros(2))
        self._latest: list[tuple[Tensor, Tensor]] = []

    def lesson_plan(self) -> LessonPlan:
        """Ask for a weak view of everything and, of those without a label, a strong one."""
        return LessonPlan(labelled=ViewPlan(1), unlabelled=ViewPlan(2), ratio=self.ratio)

    def begin_epoch(self, epoch: int, epochs: int, material: Material) -> None:
        """Count the labels of each class, once; begin to count what is selected."""
        super().begin_epoch(epoch, epochs, material)
        self.counts.zero_()
        if epoch == 0:
            labels = torch.cat([labels for _, labels in material.labelled])
            self.wanted.copy_(labels.bincount(minlength=len(self.wanted)) / len(labels))
            self.answered.copy_(self.wanted)

    def forward(self, lesson: Lesson) -> StepOutput:
        """Return cross-entropy + λ · mean 1[max p ≥ τ] · cross-entropy of the strong view and argmax p of the weak."""
        known = len(lesson.labels)
        logits, features = self.classify(torch.cat([lesson.views[0], *lesson.unlabelled[1:]]))
        loss = F.cross_entropy(logits[:known].float(), lesson.labels)
        if lesson.unlabelled:
            labels, chosen = self._pseudo_labels(lesson.unlabelled[0])
            each = F.cross_entropy(logits[known:].float(), labels, reduction="none")
            loss = loss + self.weight * (each * chosen).mean()
        return StepOutput(loss, features[:known].detach())

    @torch.no_grad()
    def _pseudo_labels(self, weak: Tensor) -> tuple[Tensor, Tensor]:
        """Return what it takes weak views for, and which of these answers are confident enough to learn from."""
        chances = F.softmax(self.classify(weak).logits.float() / self.temperature, dim=1)
        aligned = aligned_with(chances, self.wanted, self.answered) if self.align else chances
        confidence, labels = aligned.max(dim=1)
        chosen = confidence >= self.threshold
        if self.training:
            selected = float(chosen.sum())
            self._latest.append((chances.mean(0), chances.new_tensor([selected, len(weak)])))
        return labels, chosen

    def after_step(self, step: int, total_steps: int) -> None:
        """Let the mean answer, of all processes, follow; count what was selected."""
        for answered, counts in self._latest:
            self.answered.lerp_(over_processes(answered, "mean"), 1 - self.align_momentum)
            self.counts += over_processes(counts, "sum")
        self._latest.clear()

    def figures(self) -> dict[str, float]:
        """Return the share of answers that were confident enough in this epoch."""
        selected, asked = self.counts.tolist()
        return {"selected": selected / asked if asked else math.nan}


def aligned_with(chances: Tensor, wanted: Tensor, answered: Tensor) -> Tensor:
    """Return probabilities (B, classes) times ``wanted`` / ``answered``, both (classes,), each row summing to 1."""
    weighted = chances * wanted / answered.clamp_min(1e-6)
    return weighted / weighted.sum(dim=1, keepdim=True).clamp_min(1e-12)


def over_processes(values: Tensor, how: str) -> Tensor:
    """Return the sum or the mean of a tensor over the processes of a run."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return values
    total = values.clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size() if how == "mean" else total
