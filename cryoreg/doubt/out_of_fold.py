"""What the model of all labels is familiar with: nothing validates it, so that the models of the folds speak for it.

Each of them says how strange the subtomograms are that it was not shown, beside those that it was. Taken together these
stand for what the last model says of new ones, as in cross-conformal prediction (Vovk 2015, Ann. Math. Artif. Intell.
74:9): models of the folds have learnt alike, from a little less. Of what the last model was shown, only its own
features count, as those of training data do everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.doubt.answers import Answers
from cryoreg.doubt.choice import Quality, choose
from cryoreg.doubt.drift import Seen, learn_reference
from cryoreg.doubt.familiar import COMPONENTS, Familiar, Shown, names_of, properties
from cryoreg.doubt.strangeness import SCORES, Floats, learn, principal_axes, strangeness

Rows = NDArray[np.int64]


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
    fold. Where features of the folds' models are those of this one, as of a frozen encoder, drift is looked for in
    them, too; else they do not compare.
    """
    learnt = [learn(fold.training.answers.features, fold.training.labels) for fold in folds]
    known, features = learn(training.answers.features, training.labels), training.answers.features
    centre, shared = features.mean(0), _are_shared(features, samples, folds, held)
    components = principal_axes(features - centre, COMPONENTS if shared else 0)
    tables = [strangeness(one, *fold.held.answers[:2]) for one, fold in zip(learnt, folds, strict=True)]
    values = [properties(one, centre, components, fold.held.answers) for one, fold in zip(learnt, folds, strict=True)]
    predictions = np.concatenate([fold.held.answers.predictions for fold in folds])
    groups = [group for fold in folds for group in fold.held.groups]
    seen, classes = Seen(np.concatenate(values), predictions, groups), training.answers.logits.shape[1]
    chosen, qualities = _chosen(folds)
    reference = learn_reference(names_of(components), seen, _nobody(seen), classes)
    return Familiar(known, np.concatenate(tables), predictions, chosen, qualities, centre, components, reference)


def _are_shared(features: Floats, samples: Rows, folds: Sequence[Fold], held: Rows) -> bool:
    theirs = np.concatenate([fold.held.answers.features for fold in folds])
    both, place, other = np.intersect1d(samples, held, return_indices=True)
    if not len(both) or theirs.shape[1] != features.shape[1]:
        return False
    return bool(np.allclose(theirs[other], features[place], rtol=1e-3, atol=1e-3 * np.abs(features).max()))


def _nobody(seen: Seen) -> Seen:
    """Return no subtomogram: all are in the folds, and training tells of no other tomograms."""
    nobody: Rows = np.zeros(0, np.int64)
    return Seen(seen.values[nobody], nobody, ())


def _chosen(folds: Sequence[Fold]) -> tuple[str, dict[str, Quality]]:
    """Return the score of the best mean quality over the folds, and the quality of each."""
    found = [choose(*fold.training[:2], *fold.held[:2], fold.decoys)[1] for fold in folds]
    qualities = {score: _mean([each[score] for each in found]) for score in SCORES}
    return max(qualities, key=lambda score: qualities[score].mean), qualities


def _mean(qualities: Sequence[Quality]) -> Quality:
    classes = [each.classes for each in qualities if each.classes is not None]
    return Quality(float(np.mean([each.decoys for each in qualities])), float(np.mean(classes)) if classes else None)
