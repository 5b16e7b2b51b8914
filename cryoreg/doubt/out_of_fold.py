"""What the model of all labels is familiar with: nothing validates it, so that the models of the folds speak for it.

Each of them says how strange the subtomograms are that it was not shown, beside those that it was. Taken together these
stand for what the last model says of new ones, as in cross-conformal prediction (Vovk 2015, Ann. Math. Artif. Intell.
74:9): models of the folds have learnt alike, from a little less. Where each has features of its own, scores are brought
to the scale of the last one by those of what each was shown, and drift is told by what volumes look like alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from cryoreg.doubt.answers import Answers
from cryoreg.doubt.appearance import APPEARANCE
from cryoreg.doubt.choice import Quality, choose
from cryoreg.doubt.drift import Seen, learn_reference
from cryoreg.doubt.familiar import COMPONENTS, Familiar, Shown, names_of, properties
from cryoreg.doubt.strangeness import SCORES, Floats, Known, learn, principal_axes, strangeness

Rows = NDArray[np.int64]
COMPARABLE = ("max_softmax", "mahalanobis")
"""Scores that compare between models of other features: in a first look, `energy` and `nearest` marked too many."""
_POSITIVE = np.array([name != "energy" for name in SCORES])
_TINY, _NARROWEST, _HIGHEST = 1e-300, 1e-9, 80.0


class Fold(NamedTuple):
    """What the model of a fold answers."""

    training: Shown
    """To what it was shown."""
    held: Shown
    """To the fold, which it was not."""
    decoys: Answers
    """To volumes of the fold without a particle."""


def learn_from_folds(training: Shown, samples: Rows, folds: Sequence[Fold], held: Rows) -> Familiar:
    """Learn what a model is familiar with from its ``training`` data and from models of folds.

    ``samples`` (N,) and ``held`` say which subtomograms of the data set those are, and what the folds hold, fold after
    fold.
    """
    features, classes = training.answers.features, training.answers.logits.shape[1]
    known, centre = learn(features, training.labels), features.mean(0)
    shared = _are_shared(features, samples, folds, held)
    components = principal_axes(features - centre, COMPONENTS if shared else 0)
    scored = [_Scored.of(fold) for fold in folds]
    last = strangeness(known, *training.answers[:2])
    tables = [each.held if shared else brought(each.held, each.training, last) for each in scored]
    values = [
        properties(each.known, centre, components, fold.held.answers) for each, fold in zip(scored, folds, strict=True)
    ]
    names = names_of(components)
    seen = Seen(
        np.concatenate(values),
        np.concatenate([fold.held.answers.predictions for fold in folds]),
        [group for fold in folds for group in fold.held.groups],
    )
    if not shared:
        names, seen = APPEARANCE, seen._replace(values=seen.values[:, [names.index(name) for name in APPEARANCE]])
    chosen, qualities = _chosen(folds, tuple(SCORES) if shared else COMPARABLE)
    reference = learn_reference(names, seen, _nobody(seen), classes)
    return Familiar(known, np.concatenate(tables), seen.predictions, chosen, qualities, centre, components, reference)


class _Scored(NamedTuple):
    """What scores a fold's model gives."""

    known: Known
    training: Floats
    """(n, `SCORES`) of what it was shown."""
    held: Floats
    """(n, `SCORES`) of the fold."""

    @classmethod
    def of(cls, fold: Fold) -> Self:
        known = learn(fold.training.answers.features, fold.training.labels)
        return cls(known, *(strangeness(known, *part.answers[:2]) for part in (fold.training, fold.held)))


def brought(scores: Floats, own: Floats, last: Floats) -> Floats:
    """Return a model's scores (N, `SCORES`) on the scale of another.

    They lie as many quartile ranges from the median as before: of those of its ``own`` training data, and of those of
    the ``last`` one's. Scores that are positive are compared by their logarithms.
    """
    (middle, spread), (other, wanted) = _middle_and_spread(own), _middle_and_spread(last)
    moved = (_even(scores) - middle) / spread * wanted + other
    return np.where(_POSITIVE, np.exp(np.minimum(moved, _HIGHEST)), moved)


def _middle_and_spread(scores: Floats) -> tuple[Floats, Floats]:
    low, middle, high = np.percentile(_even(scores), [25, 50, 75], axis=0)
    return middle, np.maximum(high - low, _NARROWEST)


def _even(scores: Floats) -> Floats:
    return np.where(_POSITIVE, np.log(np.maximum(scores, _TINY)), scores)


def _are_shared(features: Floats, samples: Rows, folds: Sequence[Fold], held: Rows) -> bool:
    """Tell whether all models have the same features, as of a frozen encoder."""
    theirs = np.concatenate([fold.held.answers.features for fold in folds])
    both, place, other = np.intersect1d(samples, held, return_indices=True)
    if not len(both) or theirs.shape[1] != features.shape[1]:
        return False
    return bool(np.allclose(theirs[other], features[place], rtol=1e-3, atol=1e-3 * np.abs(features).max()))


def _nobody(seen: Seen) -> Seen:
    """Return no subtomogram: all are in the folds, and training tells of no other tomograms."""
    nobody: Rows = np.zeros(0, np.int64)
    return Seen(seen.values[nobody], nobody, ())


def _chosen(folds: Sequence[Fold], among: Sequence[str]) -> tuple[str, dict[str, Quality]]:
    """Return the score ``among`` some of the best mean quality over the folds, and the quality of each."""
    found = [choose(*fold.training[:2], *fold.held[:2], fold.decoys)[1] for fold in folds]
    qualities = {score: _mean([each[score] for each in found]) for score in SCORES}
    return max(among, key=lambda score: qualities[score].mean), qualities


def _mean(qualities: Sequence[Quality]) -> Quality:
    classes = [each.classes for each in qualities if each.classes is not None]
    return Quality(float(np.mean([each.decoys for each in qualities])), float(np.mean(classes)) if classes else None)
