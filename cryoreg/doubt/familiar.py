"""What a classifier is familiar with: what is remembered of its training data, to tell others from them."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from cryoreg.doubt.answers import Answers
from cryoreg.doubt.appearance import APPEARANCE
from cryoreg.doubt.choice import Quality, choose
from cryoreg.doubt.conformal import familiarity
from cryoreg.doubt.drift import Groups, Reference, Seen, learn_reference
from cryoreg.doubt.strangeness import SCORES, Floats, Known, learn, principal_axes, strangeness

NONE_BELOW = 0.05
"""A familiarity that one in twenty known subtomograms does not reach: it may be none of the classes."""
COMPONENTS = 8
"""Principal components of the features that are compared."""
CONFIDENCE, DISTANCE = "confidence", "distance from the classes"


class Shown(NamedTuple):
    """A part of a run's data, as its classifier answers to it."""

    answers: Answers
    labels: NDArray[np.int64]
    """(N,)."""
    groups: Groups
    """The tomogram of each."""


class Familiar(NamedTuple):
    """What is remembered."""

    known: Known
    strangeness: Floats
    """(N, `SCORES`) of the validation split."""
    predictions: NDArray[np.int64]
    """(N,) of the validation split."""
    chosen: str
    """The score that tells best, of `SCORES`."""
    qualities: dict[str, Quality]
    """Score -> how it was chosen."""
    centre: Floats
    """(F,): the mean of the training features."""
    components: Floats
    """(F, `COMPONENTS` or fewer): their principal axes."""
    reference: Reference

    @classmethod
    def learn(cls, training: Shown, validation: Shown, decoys: Answers) -> Self:
        """Learn from labelled subtomograms, from those of the validation split, and from volumes without a particle."""
        features, classes = training.answers.features, training.answers.logits.shape[1]
        known = learn(features, training.labels)
        chosen, qualities = choose(training.answers, training.labels, validation.answers, validation.labels, decoys)
        centre = features.mean(0)
        components = principal_axes(features - centre, COMPONENTS)
        table = strangeness(known, *validation.answers[:2])

        def seen(shown: Shown) -> Seen:
            values = properties(known, centre, components, shown.answers)
            return Seen(values, shown.answers.predictions, shown.groups)

        reference = learn_reference(names_of(components), seen(validation), seen(training), classes)
        return cls(known, table, validation.answers.predictions, chosen, qualities, centre, components, reference)

    @property
    def by_folds_of_their_own(self) -> bool:
        """Whether models of a cross-validation speak for this one, each with features of its own: none are compared."""
        return self.components.shape[1] == 0

    def seen(self, answers: Answers, groups: Groups) -> Seen:
        """Return what `drift.differences` compares."""
        names, values = names_of(self.components), properties(self.known, self.centre, self.components, answers)
        return Seen(values[:, [names.index(name) for name in self.reference.names]], answers.predictions, groups)

    def familiarity(self, answers: Answers, score: str) -> Floats:
        """Return the share (N,) of validation subtomograms that are at least as strange; see `conformal`."""
        place = list(SCORES).index(score)
        strange = SCORES[score](self.known, answers.logits, answers.features)
        return familiarity(self.strangeness[:, place], self.predictions, strange, answers.predictions)


def names_of(components: Floats) -> tuple[str, ...]:
    """Return what the `properties` are called."""
    return (*APPEARANCE, CONFIDENCE, DISTANCE, *(f"feature component {k + 1}" for k in range(components.shape[1])))


def properties(known: Known, centre: Floats, components: Floats, answers: Answers) -> Floats:
    """Return what is compared between data sets, (N, properties)."""
    confidence = -SCORES["max_softmax"](known, answers.logits, answers.features)
    distance = SCORES["mahalanobis"](known, answers.logits, answers.features)
    moved = (answers.features - centre) @ components
    return np.column_stack([answers.appearance, confidence, distance, moved])
