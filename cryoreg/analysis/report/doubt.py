"""What tells against a classifier's word on the data of a report: they drift, or many are none of its classes."""

from __future__ import annotations

from cryoreg.doubt.familiar import NONE_BELOW
from cryoreg.doubt.words import describe
from cryoreg.inference.doubts import Doubter, doubter_of
from cryoreg.inference.embedding import Embedding
from cryoreg.inference.trained import Trained

_MANY = 0.1
"""Marked as none of the classes: twice what is usual."""
_CHANCE = 1e-3


def doubts_of(trained: Trained, measured: Embedding) -> list[str]:
    """Return lines on drift, and on what is none of the classes; none for what was learnt from, or chosen by."""
    answers = measured.answers
    if answers is None or {"train", "val"} & set(measured.parts):
        return []
    doubter = doubter_of(trained)
    if not isinstance(doubter, Doubter):
        return [doubter.removeprefix("note: ")]
    lines = describe(doubter.differences(answers, measured.groups), measured.classes)
    lines += [note.removeprefix("note: ") for note in doubter.notes()]
    marked = doubter.strangers(answers).none_of_these
    if (
        marked.mean() >= _MANY
        and by_chance(int(marked.sum()), len(marked), len(doubter.familiar.predictions)) < _CHANCE
    ):
        lines.append(f"{100 * marked.mean():.0f} % may be none of the classes, where 5 % of those that are one look so")
    return lines


def by_chance(marked: int, count: int, known: int) -> float:
    """Return the probability that so many of ``count`` are marked, though all are like the ``known`` of validation.

    The share that is marked follows the beta distribution of an order statistic, as validation was drawn, too.
    """
    from scipy.stats import betabinom

    reached = int(NONE_BELOW * (known + 1))
    return float(betabinom.sf(marked - 1, count, reached, known + 1 - reached)) if reached else 1.0
