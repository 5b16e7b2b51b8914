"""Full fine-tuning: all weights learn, from labelled subtomograms alone (Gupta et al. 2022)."""

from __future__ import annotations

import torch.nn.functional as F

from cryoreg.contracts import Lesson, StepOutput
from cryoreg.learners.linear import LinearLearner


class FullFineTuning(LinearLearner):
    """Encoder and one linear layer, trained together by cross-entropy."""

    def forward(self, lesson: Lesson) -> StepOutput:
        """Return the cross-entropy of the labelled subtomograms' view."""
        logits, features = self.classify(lesson.views[0])
        return StepOutput(F.cross_entropy(logits.float(), lesson.labels), features.detach())
