"""What tells against a classifier's word on the data of a report: they drift, or many are none of its classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cryoreg.doubt.familiar import NONE_BELOW
from cryoreg.doubt.words import describe
from cryoreg.inference.doubts import Doubter, doubter_of
from cryoreg.inference.embedding import Embedding
from cryoreg.inference.trained import Trained
from cryoreg.proportions import Proportion

_MANY = 0.1
"""Marked as none of the classes: twice what is usual."""
_CHANCE = 1e-3


class Doubted(NamedTuple):
    """What is doubted of the subtomograms that figures are of."""

    lines: tuple[str, ...] = ()
    marked: tuple[int, ...] = ()
    """Indices into the data set of those that may be none of the classes, the least familiar first."""
    share: Proportion | None = None
    """How many are marked; None where nothing can tell."""
    many: bool = False
    """More are marked than chance would mark, were all of the classes."""
    tomograms: tuple[str, ...] = ()
    """Those that differ from what was trained on."""
    all_differ: bool = False
    """All subtomograms together do."""


def doubts_of(trained: Trained, measured: Embedding) -> Doubted:
    """Return what tells against a classifier's word; nothing for what was learnt from, or chosen by."""
    answers = measured.answers
    if answers is None or {"train", "val"} & set(measured.parts):
        return Doubted()
    doubter = doubter_of(trained)
    if not isinstance(doubter, Doubter):
        return Doubted((doubter.removeprefix("note: "),))
    found = doubter.differences(answers, measured.groups)
    notes = [note.removeprefix("note: ") for note in doubter.notes()]
    lines = [*describe(found, measured.classes), *notes]
    strangers = doubter.strangers(answers)
    rows = np.flatnonzero(strangers.none_of_these)
    share = Proportion(len(rows), len(measured))
    known = len(doubter.familiar.predictions)
    many = share.value >= _MANY and by_chance(share.right, share.total, known) < _CHANCE
    if many:
        lines.append(f"{100 * share.value:.0f} % may be none of the classes, where 5 % of those that are one look so")
    return Doubted(
        tuple(lines),
        tuple(measured.samples[rows[np.argsort(strangers.familiarity[rows], kind="stable")]].tolist()),
        None if notes else share,
        many,
        tuple(dict.fromkeys(each.tomogram for each in found if each.tomogram is not None)),
        any(each.tomogram is None for each in found),
    )


def by_chance(marked: int, count: int, known: int) -> float:
    """Return the probability that so many of ``count`` are marked, though all are like the ``known`` of validation.

    The share that is marked follows the beta distribution of an order statistic, as validation was drawn, too.
    """
    from scipy.stats import betabinom

    reached = int(NONE_BELOW * (known + 1))
    return float(betabinom.sf(marked - 1, count, reached, known + 1 - reached)) if reached else 1.0
