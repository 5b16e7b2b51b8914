"""Label propagation: labels spread to the other subtomograms, and logistic regression learns from all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from cryoreg.contracts import Encoder, Material
from cryoreg.learners.full import FullFineTuning
from cryoreg.learners.linear import embedded
from cryoreg.learners.logistic_regression import fit_with
from cryoreg.learners.propagation import UNLABELLED, Floats, Integers, spread
from cryoreg.plans import LessonPlan, ViewPlan


class LabelPropagation(FullFineTuning):
    """Spreads the labels and fits the linear layer before the first epoch; no step is taken."""

    reached: Tensor
    certainty: Tensor

    def __init__(
        self, encoder: Encoder, classes: int, *, neighbours: int, gamma: float, alpha: float, strength: float
    ) -> None:
        super().__init__(encoder, classes, unit_length=True)
        self.requires_grad_(False)
        self.neighbours, self.gamma, self.alpha, self.strength = neighbours, gamma, alpha, strength
        self.register_buffer("reached", torch.tensor(torch.nan))
        self.register_buffer("certainty", torch.tensor(torch.nan))

    def lesson_plan(self) -> LessonPlan:
        """Ask for subtomograms whose labels are not shown."""
        return LessonPlan(unlabelled=ViewPlan(1))

    @torch.no_grad()
    def begin_epoch(self, epoch: int, epochs: int, material: Material) -> None:
        """Spread and fit, once: the features of later epochs are the same.

        Labels spread between subtomograms, by their mean features over `turns`; the layer is fitted to all copies of
        each, as that of `linear_probe`.
        """
        if epoch == 0:
            features, labels = embedded(self, chain(material.labelled, _without_labels(material.unlabelled)))
            copies = features.unflatten(0, (self.turns, -1))
            self._learn(copies, labels[: copies.shape[1]].cpu().numpy())

    def _learn(self, copies: Tensor, labels: Integers) -> None:
        """Learn from features (turns, N, num_features) and labels (N,), -1 where not known."""
        found = spread(_array(copies.mean(0)), labels, self.neighbours, self.gamma, self.alpha)
        self._note(found.weights[labels == UNLABELLED])
        used = np.flatnonzero(found.weights)
        seen = self.seen(copies[:, torch.from_numpy(used).to(copies.device)].flatten(0, 1))
        taught, weights = np.tile(found.labels[used], self.turns), np.tile(found.weights[used], self.turns)
        self.take_layer(fit_with(_array(seen), taught, self.strength, standardised=False, weights=weights))

    def _note(self, weights: Floats) -> None:
        if len(weights):
            self.reached.fill_(float((weights > 0).mean()))
            self.certainty.fill_(float(weights.mean()))

    def figures(self) -> dict[str, float]:
        """Return the share of the subtomograms without a label that are learnt from, and the mean weight of all."""
        return {"reached": float(self.reached), "certainty": float(self.certainty)}


def _without_labels(unlabelled: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    return ((x, torch.full((len(x),), UNLABELLED, device=x.device)) for x in unlabelled)


def _array(features: Tensor) -> Floats:
    array: Floats = features.cpu().double().numpy()
    return array
