"""A 3D autoencoding classifier (Liu et al. 2019, BMVC)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryoreg.contracts import Answer, Encoder, Learner, Lesson, StepOutput
from cryoreg.plans import LessonPlan, ViewPlan
from cryoreg_autoencoder.method import Decoder


class AutoencodingClassifier(Learner):
    """One code of an encoder's features is what a classifier reads, and what a decoder reconstructs volumes from."""

    def __init__(
        self, encoder: Encoder, classes: int, *, code_dim: int, hidden_dim: int, width: int, weight: float, ratio: int
    ) -> None:
        super().__init__()
        self.encoder, self.weight, self.ratio = encoder, weight, ratio
        self.code = nn.Sequential(nn.Linear(encoder.num_features, code_dim), nn.ReLU())
        self.classifier = nn.Sequential(
            nn.BatchNorm1d(code_dim), nn.Linear(code_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, classes)
        )
        self.decoder = Decoder(code_dim, width)

    def lesson_plan(self) -> LessonPlan:
        """Ask for one view of everything."""
        return LessonPlan(labelled=ViewPlan(1), unlabelled=ViewPlan(1), ratio=self.ratio)

    def forward(self, lesson: Lesson) -> StepOutput:
        """Return cross-entropy + w · mean squared error of all reconstructions, in float32."""
        known, shown = len(lesson.labels), torch.cat([lesson.views[0], *lesson.unlabelled])
        features = self.encoder(shown)
        code = self.code(features)
        reconstruction, logits = self.decoder(code, shown.shape[2:]), self.classifier(code[:known])
        error = (reconstruction.float() - shown.float()).square().mean()
        loss = F.cross_entropy(logits.float(), lesson.labels) + self.weight * error
        return StepOutput(loss, features[:known].detach())

    def classify(self, x: Tensor) -> Answer:
        """Map (B, 1, D, H, W) to logits (B, classes) and the encoder's features (B, num_features)."""
        features = self.encoder(x)
        return Answer(self.classifier(self.code(features)), features)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return what the decoder makes of volumes (B, 1, D, H, W), of the same shape."""
        return self.decoder(self.code(self.encoder(x)), x.shape[2:])
