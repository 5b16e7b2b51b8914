"""Full fine-tuning: all weights learn, from labelled subtomograms alone (Gupta et al. 2022)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from cryoreg.contracts import Answer, Encoder, Learner, Lesson, StepOutput


class FullFineTuning(Learner):
    """Encoder and one linear layer, trained together by cross-entropy.

    The layer's weights start from N(0, 0.01), its biases at 0, as the paper's lab has them.
    """

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.num_features, classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, lesson: Lesson) -> StepOutput:
        """Return the cross-entropy of the labelled subtomograms' view."""
        logits, features = self.classify(lesson.views[0])
        return StepOutput(F.cross_entropy(logits.float(), lesson.labels), features.detach())

    def classify(self, x: Tensor) -> Answer:
        """Map (B, 1, D, H, W) to logits (B, classes) and features (B, num_features)."""
        features = self.encoder(x)
        return Answer(self.head(features), features)
