"""Few-shot domain adaptation (Yu et al. 2020, arXiv 2007.15422)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cryoreg.contracts import Answer, Encoder, Learner, Lesson, StepOutput
from cryoreg.plans import LessonPlan, ViewPlan
from cryoreg_yu2020.source import Source

TEACH, ALIGN, DISCRIMINATE, ADAPT = range(4)
"""The phases."""
ONE, OTHER_DOMAIN, OTHER_CLASS, BOTH_OTHER = range(4)
"""The groups of pairs: same domain and class, ..."""
_ANSWERS = ("encoder.", "classifier.")


class FewShotAdaptation(Learner):
    """A source is learnt, then the target is brought to where a discriminator takes it for the source.

    ``encoder`` is the target's; ``source_encoder`` has first layers of its own, and shares the others.
    """

    phase: Tensor

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        source: Source | Callable[[], Source],
        *,
        source_batch: int,
        specific: float,
        teaching: float,
        aligning: float,
        discriminating: float,
        coral: float,
        adversarial: float,
        pairs: int,
        hidden_dim: int,
    ) -> None:
        """Take the source, or what opens it at the first step."""
        super().__init__()
        self.encoder, self.source_encoder = encoder, twin(encoder, specific)
        self.classifier = nn.Linear(encoder.num_features, classes)
        self.discriminator = nn.Sequential(
            *(nn.Linear(2 * encoder.num_features, hidden_dim), nn.ReLU()),
            *(nn.Linear(hidden_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, 4)),
        )
        self._source, self.source_batch, self.pairs = source, source_batch, pairs
        self.ends = (teaching, teaching + aligning, teaching + aligning + discriminating)
        self.coral, self.adversarial = coral, adversarial
        self.register_buffer("phase", torch.tensor(TEACH))

    @property
    def source(self) -> Source:
        """The labelled subtomograms of the other domain."""
        if not isinstance(self._source, Source):
            self._source = self._source()
        return self._source

    def lesson_plan(self) -> LessonPlan:
        """Ask for one view of everything; the source it reads itself."""
        return LessonPlan(labelled=ViewPlan(1), unlabelled=ViewPlan(1))

    def take_up(self, left: Callable[[], Mapping[str, Tensor]]) -> str:
        """Say what the source is."""
        told = f"the source has {len(self.source)} subtomograms of {len(self.source.rows)} of the classes"
        return "; ".join([told, *self.source.dataset.notes])

    def train(self, mode: bool = True) -> Self:
        """Let those learn whose turn it is."""
        super().train(mode)
        if mode:
            self._take_turns()
        return self

    def _take_turns(self) -> None:
        phase = int(self.phase)
        self.requires_grad_(phase != DISCRIMINATE)
        self.discriminator.requires_grad_(phase == DISCRIMINATE)
        for part in (self.encoder, self.source_encoder):
            part.train(phase != DISCRIMINATE)
        if phase == TEACH:
            for mine, _ in self._own():
                mine.requires_grad_(False)

    def _own(self) -> list[tuple[Tensor, Tensor]]:
        """Return what the target's encoder has of its own, parameters and buffers, each with the source's."""
        mine, theirs = (
            [*each.named_parameters(), *each.named_buffers()] for each in (self.encoder, self.source_encoder)
        )
        return [(one, other) for (_, one), (_, other) in zip(mine, theirs, strict=True) if one is not other]

    def forward(self, lesson: Lesson) -> StepOutput:
        """Return the loss of the phase, in float32."""
        x, labels = (part.to(lesson.labels.device) for part in self.source.draw(self.source_batch))
        phase = int(self.phase)
        with torch.set_grad_enabled(torch.is_grad_enabled() and phase != DISCRIMINATE):
            features = self.source_encoder(x)
            shown = [*lesson.views[:1], *(lesson.unlabelled if phase == ALIGN else ())]
            others = features if phase == TEACH else self.encoder(torch.cat(shown))
        if phase in (TEACH, ALIGN):
            loss = F.cross_entropy(self.classifier(features).float(), labels)
            if phase == ALIGN:
                loss = loss + self.coral * covariance_distance(features.float(), others.float())
        else:
            loss = self._loss_of_pairs(phase, (features, labels), (others, lesson.labels))
        return StepOutput(loss, features.detach())

    def _loss_of_pairs(self, phase: int, source: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor]) -> Tensor:
        features, labels = (torch.cat(both) for both in zip(source, target, strict=True))
        groups = grouped_pairs(source[1], target[1], self.pairs)
        if phase == ADAPT:
            groups = {group: groups[group] for group in (OTHER_DOMAIN, BOTH_OTHER)}
        first, second = torch.cat(list(groups.values())).T
        wanted = torch.cat([torch.full((len(pairs),), _GOAL[phase][group]) for group, pairs in groups.items()])
        said = self.discriminator(torch.cat([features[first], features[second]], dim=1)).float()
        loss = F.cross_entropy(said, wanted.to(said.device))
        if phase == DISCRIMINATE:
            return loss
        logits = self.classifier(features).float()
        known = sum(F.cross_entropy(logits[rows], labels[rows]) for rows in (first, second))
        return known + self.adversarial * loss

    @torch.no_grad()
    def after_step(self, step: int, total_steps: int) -> None:
        """Let the target's own layers be the source's while that alone is learnt; say which phase comes next."""
        if self.phase == TEACH:
            for mine, theirs in self._own():
                mine.copy_(theirs)
        phase = sum(step + 1 >= round(end * total_steps) for end in self.ends)
        if phase != self.phase:
            self.phase.fill_(phase)
            self._take_turns()

    def figures(self) -> dict[str, float]:
        """Return the phase, from 1 to 4."""
        return {"phase": float(self.phase) + 1}

    def classify(self, x: Tensor) -> Answer:
        """Map the target's (B, 1, D, H, W) to logits (B, classes) and features (B, num_features)."""
        features = self.encoder(x)
        return Answer(self.classifier(features), features)

    def saved_state(self) -> dict[str, Tensor]:
        """Return the target's encoder and the classifier."""
        return {name: value for name, value in self.state_dict().items() if name.startswith(_ANSWERS)}

    def load_saved_state(self, saved: Mapping[str, Tensor]) -> None:
        """Take back the target's encoder and the classifier."""
        self.load_state_dict({**self.state_dict(), **saved})


_GOAL = {
    DISCRIMINATE: {group: group for group in range(4)},
    ADAPT: {OTHER_DOMAIN: ONE, BOTH_OTHER: OTHER_CLASS},
}
"""What is wanted of the discriminator: which group pairs are in, then in which they would be within one domain."""


def twin(encoder: Encoder, share: float) -> Encoder:
    """Return a copy of an encoder that has the first ``share`` of the layers for itself, and the others in common.

    Layers are the modules with parameters or buffers of their own, in the order in which the encoder declares them.
    """
    own = copy.deepcopy(encoder)
    layers = [name for name, part in encoder.named_modules() if name and _holds(part)]
    for name in layers[round(share * len(layers)) :]:
        own.set_submodule(name, encoder.get_submodule(name))
    return own


def _holds(part: nn.Module) -> bool:
    return any(True for _ in part.parameters(recurse=False)) or any(True for _ in part.buffers(recurse=False))


def covariance_distance(first: Tensor, second: Tensor) -> Tensor:
    """Return ‖C − C'‖_F / 4d² of the covariances of features (n, d) and (m, d); of single ones, 0."""
    if min(len(first), len(second)) < 2:
        return first.new_zeros(())
    return (first.T.cov() - second.T.cov()).norm() / (4 * first.shape[1] ** 2)


def grouped_pairs(source: Tensor, target: Tensor, most: int) -> dict[int, Tensor]:
    """Return group -> pairs (n, 2), n ≤ ``most``, of places in source and target labels, one after the other.

    Those of a domain are of the source, the others first of the source, then of the target. All are drawn from torch's
    global generator.
    """
    count = len(source)
    within = torch.triu_indices(count, count, 1).T
    across = torch.cartesian_prod(torch.arange(count), count + torch.arange(len(target)))
    labels, found = torch.cat([source, target]).cpu(), {}
    for pairs, same, other in ((within, ONE, OTHER_CLASS), (across, OTHER_DOMAIN, BOTH_OTHER)):
        alike = labels[pairs[:, 0]] == labels[pairs[:, 1]]
        for group, those in ((same, pairs[alike]), (other, pairs[~alike])):
            found[group] = those[torch.randperm(len(those))[:most]].to(source.device)
    return dict(sorted(found.items()))
