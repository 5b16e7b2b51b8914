"""Prototypes: each class is the mean of its features (Snell et al. 2017; Wang et al. 2019, SimpleShot)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cryoreg.contracts import Answer, Encoder, Learner, Lesson, Material, StepOutput
from cryoreg.learners.linear import embedded
from cryoreg.learners.logistic_regression import NEVER


class Prototypes(Learner):
    """Answers with the cosine between a subtomogram's features and the mean of each class, about a common centre."""

    centre: Tensor
    means: Tensor
    known: Tensor

    def __init__(self, encoder: Encoder, classes: int, *, temperature: float, centred: bool) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.temperature, self.centred = temperature, centred
        self.register_buffer("centre", torch.zeros(encoder.num_features))
        self.register_buffer("means", torch.zeros(classes, encoder.num_features))
        self.register_buffer("known", torch.zeros(classes, dtype=torch.bool))

    def begin_epoch(self, epoch: int, epochs: int, material: Material) -> None:
        """Take the means, once: the features of later epochs are the same."""
        if epoch > 0:
            return
        features, labels = embedded(self, material.labelled)
        if self.centred:
            self.centre.copy_(features.mean(0))
        directions = F.normalize(features - self.centre)
        for label in labels.unique().tolist():
            self.means[label] = directions[labels == label].mean(0)
            self.known[label] = True

    def forward(self, lesson: Lesson) -> StepOutput:
        """Return the cross-entropy of the labelled subtomograms' view, of which nothing is learnt."""
        logits, features = self.classify(lesson.views[0])
        return StepOutput(F.cross_entropy(logits, lesson.labels), features.detach())

    def classify(self, x: Tensor) -> Answer:
        """Map (B, 1, D, H, W) to logits (B, classes), cosines over τ, and features (B, num_features)."""
        features = self.encoder(x)
        cosines = F.normalize(features.float() - self.centre) @ F.normalize(self.means).T
        return Answer((cosines / self.temperature).masked_fill(~self.known, NEVER), features)
