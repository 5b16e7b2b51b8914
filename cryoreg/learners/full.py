"""Full fine-tuning: all weights learn, from labelled subtomograms alone (Gupta et al. 2022)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F

from cryoreg.contracts import Encoder, Lesson, Material, StepOutput
from cryoreg.learners.linear import LinearLearner
from cryoreg.learners.logistic_regression import fit_head

Head = Literal["random", "probe"]


class FullFineTuning(LinearLearner):
    """Encoder and one linear layer, trained together by cross-entropy; the layer may begin as a linear probe."""

    def __init__(self, encoder: Encoder, classes: int, head: Head = "random", unit_length: bool = False) -> None:
        super().__init__(encoder, classes, unit_length)
        self.begins_as_probe = head == "probe"

    def begin_epoch(self, epoch: int, epochs: int, material: Material) -> None:
        """Fit the layer before the first epoch, where it begins as a probe."""
        if epoch == 0 and self.begins_as_probe:
            fit_head(self, material.labelled)

    def forward(self, lesson: Lesson) -> StepOutput:
        """Return the cross-entropy of the labelled subtomograms' view."""
        logits, features = self.classify(lesson.views[0])
        return StepOutput(F.cross_entropy(logits.float(), lesson.labels), features.detach())
