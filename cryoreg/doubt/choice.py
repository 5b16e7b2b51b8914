"""Which score tells best what is none of the classes: by stand-ins, as nobody knows what will come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.doubt.answers import Answers
from cryoreg.doubt.strangeness import SCORES, Floats, Known, evenly, learn, strangeness

LEAST_CLASSES = 3
"""Of fewer, none is left out: a classifier of the rest would tell nothing apart."""
MOST_LEFT_OUT = 20
"""Classes, spread evenly; each costs a fit."""


class Quality(NamedTuple):
    """How well a score tells validation subtomograms from what stands in for the unknown: areas under ROC curves."""

    decoys: float
    """From volumes with the same power spectra and random phases."""
    classes: float | None
    """From those of a class that is left out, mean over the classes; None where there are too few."""

    @property
    def mean(self) -> float:
        """The mean of both."""
        return self.decoys if self.classes is None else (self.decoys + self.classes) / 2

    @classmethod
    def of(cls, score: str, decoys: Floats, classes: list[Floats]) -> Quality:
        """Take the areas (scores,) with decoys, and those with each class left out."""
        place = list(SCORES).index(score)
        return cls(float(decoys[place]), float(np.mean([area[place] for area in classes])) if classes else None)


def choose(
    training: Answers,
    training_labels: NDArray[np.int64],
    validation: Answers,
    validation_labels: NDArray[np.int64],
    decoys: Answers,
) -> tuple[str, dict[str, Quality]]:
    """Return the score with the best mean quality, and the quality of each.

    A class is left out of the features that scores learn from; logits are then those of `discriminant`, as a layer that
    was taught the class goes on pushing it away from others. The features may have been taught it nevertheless.
    """
    known = learn(training.features, training_labels)
    with_decoys = areas(strangeness(known, *validation[:2]), strangeness(known, *decoys[:2]))
    without = list(_each_class_left_out(training, training_labels, validation, validation_labels))
    qualities = {score: Quality.of(score, with_decoys, without) for score in SCORES}
    return max(qualities, key=lambda score: qualities[score].mean), qualities


def areas(familiar: Floats, strange: Floats) -> Floats:
    """Return areas under the ROC curves (scores,) of telling ``strange`` (n, scores) from ``familiar`` (N, scores)."""
    from sklearn.metrics import roc_auc_score

    truth = np.repeat([0, 1], [len(familiar), len(strange)])
    columns = np.concatenate([familiar, strange]).T
    return np.array([roc_auc_score(truth, column) for column in columns])


def discriminant(known: Known, features: Floats) -> Floats:
    """Return the logits (n, classes with a label) of linear discriminant analysis: f Σ⁻¹ μ − μ Σ⁻¹ μ / 2."""
    means = known.means @ known.whitening
    return features @ known.whitening @ means.T - (means**2).sum(1) / 2


def _each_class_left_out(
    training: Answers, training_labels: NDArray[np.int64], validation: Answers, validation_labels: NDArray[np.int64]
) -> Iterator[Floats]:
    classes = np.intersect1d(training_labels, validation_labels)
    if len(classes) < LEAST_CLASSES:
        return
    for label in classes[evenly(len(classes), MOST_LEFT_OUT)]:
        rest = training_labels != label
        known = learn(training.features[rest], training_labels[rest])
        strange = strangeness(known, discriminant(known, validation.features), validation.features)
        left_out = validation_labels == label
        yield areas(strange[~left_out], strange[left_out])
