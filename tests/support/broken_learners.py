"""What `broken_specs.SoundLearner` builds: a sound learner, and others with one fault each."""

from __future__ import annotations

import random
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryoreg.contracts import Answer, Encoder, Learner, Lesson, Material, StepOutput


class Pupil(Learner):
    seen: Tensor

    def __init__(self, encoder: Encoder, classes: int, smoothing: float) -> None:
        super().__init__()
        self.encoder, self.smoothing = encoder, smoothing
        self.head = nn.Linear(encoder.num_features, classes)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, lesson: Lesson) -> StepOutput:
        features = self.features(lesson.views[0])
        loss = F.cross_entropy(self.head(features).float(), lesson.labels, label_smoothing=self.smoothing)
        return StepOutput(loss, features.detach())

    def features(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def classify(self, x: Tensor) -> Answer:
        features = self.features(x)
        return Answer(self.head(features), features)

    def after_step(self, step: int, total_steps: int) -> None:
        self.seen += 1


class PupilOfAnotherEncoder(Pupil):
    def __init__(self, encoder: Encoder, classes: int, smoothing: float) -> None:
        super().__init__(encoder, classes, smoothing)
        self.encoder = nn.Sequential(encoder)
        self.encoder.num_features = encoder.num_features


class PupilOfDoubles(Pupil):
    def forward(self, lesson: Lesson) -> StepOutput:
        loss, features, _ = super().forward(lesson)
        return StepOutput(loss.double(), features)


class PupilThatWrites(Pupil):
    def forward(self, lesson: Lesson) -> StepOutput:
        lesson.views[0].add_(1e-3)
        return super().forward(lesson)


class PupilWithFewFeatures(Pupil):
    def classify(self, x: Tensor) -> Answer:
        logits, features = super().classify(x)
        return Answer(logits, features[:, 1:])


class PupilOfBatches(Pupil):
    def classify(self, x: Tensor) -> Answer:
        logits, features = super().classify(x)
        return Answer(logits - logits.mean(0) / 2, features)


class PupilThatCounts(Pupil):
    def classify(self, x: Tensor) -> Answer:
        self.seen += len(x)
        return super().classify(x)


class PupilThatSwaps(Pupil):
    def classify(self, x: Tensor) -> Answer:
        logits, features = super().classify(x)
        return Answer(logits.flip(1), features)


class PupilThatCheats(Pupil):
    @torch.no_grad()
    def begin_epoch(self, epoch: int, epochs: int, material: Material) -> None:
        self.head.bias += 1e-3 * sum(labels.sum() for _, labels in material.validation)


class PupilWithSpare(Pupil):
    def __init__(self, encoder: Encoder, classes: int, smoothing: float) -> None:
        super().__init__(encoder, classes, smoothing)
        self.spare = nn.Parameter(torch.ones(1))


class PupilNeverReady(Pupil):
    @property
    def may_be_kept(self) -> bool:
        return False


class PupilOfChance(Pupil):
    def __init__(self, encoder: Encoder, classes: int, smoothing: float) -> None:
        super().__init__(encoder, classes, smoothing)
        nn.init.constant_(self.head.bias, 0.01 * random.random())


class PupilThatForgets(Pupil):
    def __init__(self, encoder: Encoder, classes: int, smoothing: float) -> None:
        super().__init__(encoder, classes, smoothing)
        self.step = 0

    def forward(self, lesson: Lesson) -> StepOutput:
        loss, features, _ = super().forward(lesson)
        return StepOutput(loss * (1 + 0.1 * self.step), features)

    def after_step(self, step: int, total_steps: int) -> None:
        self.step += 1


class PupilThatSavesTooLittle(Pupil):
    def saved_state(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.state_dict().items() if name != "head.bias"}

    def load_saved_state(self, saved: Mapping[str, Tensor]) -> None:
        self.load_state_dict(dict(saved), strict=False)


class PupilAlone(Pupil):
    def forward(self, lesson: Lesson) -> StepOutput:
        output = super().forward(lesson)
        self._latest = output.features.mean()
        return output

    def after_step(self, step: int, total_steps: int) -> None:
        self.seen += self._latest
