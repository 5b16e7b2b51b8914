"""Can this be trusted? In words, before any figure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from cryoreg.analysis.report.doubt import Doubted
from cryoreg.analysis.report.shares import Shares
from cryoreg.datasets.splits import label_fraction
from cryoreg.inference.evaluate import Evaluation
from cryoreg.inference.trained import Trained
from cryoreg.proportions import Proportion
from cryoreg.training.cross_validation import CROSS_VALIDATED

Answer = Literal["yes", "with care", "not yet"]
WIDE = 0.2
"""An interval of the accuracy from which on its width is a doubt."""
STABLE, UNSTABLE = 0.9, 0.7
"""Mean adjusted Rand indices between runs of a clustering."""
_MIXED = 0.1
"""Of a class: the least share, at the lower end of its interval, that is taken for another and is told."""
_MOST = 3
"""Pairs of classes, and tomograms, that are named."""
HEADLINES: dict[Answer, str] = {
    "yes": "Yes, as far as these data can tell",
    "with care": "With care",
    "not yet": "Not yet",
}


class Word(NamedTuple):
    """A sentence, and what it means for trust."""

    text: str
    answer: Answer = "yes"


class Verdict(NamedTuple):
    """What a report comes to."""

    words: list[Word]

    @property
    def answer(self) -> Answer:
        """The worst that any sentence says; "not yet" where there is none."""
        found = {word.answer for word in self.words}
        order: tuple[Answer, ...] = ("not yet", "with care", "yes")
        return next((answer for answer in order if answer in found), "not yet")

    @property
    def headline(self) -> str:
        """The answer in words."""
        return HEADLINES[self.answer]

    @property
    def sentences(self) -> list[str]:
        """What it is made of, without the full stops."""
        return [word.text for word in self.words]

    def __str__(self) -> str:
        """Write it in one line."""
        return f"{self.headline}: {'; '.join(self.sentences)}"


def of_classifier(
    evaluation: Evaluation | None, learnt: Sequence[int], doubted: Doubted, wary: bool, held_out: bool
) -> Verdict:
    """Return the verdict on a classifier.

    ``learnt``: how many labels of each class it learnt from, where known; ``wary``: something else makes its figures
    look better than they are; ``held_out``: it has not learnt from what they are of.
    """
    words = []
    if learnt:
        few, many = min(learnt), max(learnt)
        number = f"{few} to {many} labels" if few < many else f"{few} label{'s' * (few != 1)}"
        words.append(Word(f"{number} a class"))
    words += [] if evaluation is None else _of_figures(evaluation, wary, held_out)
    if evaluation is None:
        words.append(Word("nothing here has a label to be judged by", "with care"))
    return Verdict([*words, *_of_doubts(doubted)])


def _of_figures(evaluation: Evaluation, wary: bool, held_out: bool) -> Iterator[Word]:
    right, counts = evaluation.proportion, evaluation.confusion.sum(1)
    said = f"{100 * right.value:.0f} % ({right.interval})"
    shown = "which it was not shown" if held_out else "which it has learnt from, or was chosen by"
    ways = {
        CROSS_VALIDATED: f"cross-validated {said} of {right.total}",
        "all": f"right on {said} of the {right.total} that have a label" + (f", {shown}" if not held_out else ""),
    }
    text = ways.get(evaluation.part, f"right on {said} of {right.total} {evaluation.part} subtomograms, {shown}")
    yield Word(text, "not yet" if not held_out else "with care" if right.interval.width > WIDE or wary else "yes")
    largest = counts.max() / counts.sum()
    if right.interval.low <= largest and np.count_nonzero(counts) > 1:
        name = evaluation.classes[int(counts.argmax())]
        yield Word(f"always saying '{name}' would be right on {100 * largest:.0f} %: that is no worse", "not yet")
    yield from (Word(text, "with care") for text in mixing(evaluation))


def mixing(evaluation: Evaluation) -> list[str]:
    """Return which classes are taken for each other, surely of more than a tenth of one; the worst first."""
    counts, found = evaluation.confusion, []
    for a, b in combinations(range(len(evaluation.classes)), 2):
        ways = [(counts[one, other], counts[one].sum()) for one, other in ((a, b), (b, a))]
        surest = max(Proportion(taken, total).interval.low if total else 0.0 for taken, total in ways)
        if surest > _MIXED:
            one, other = (a, b) if ways[0][0] * ways[1][1] >= ways[1][0] * ways[0][1] else (b, a)
            taken, total = counts[one, other], counts[one].sum()
            names = evaluation.classes[one], evaluation.classes[other]
            text = f"class {names[0]} mixes with {names[1]} ({taken} of {total} are taken for it)"
            found.append((surest, text))
    found.sort(key=lambda each: -each[0])
    more = [f"{len(found) - _MOST} more pairs of classes mix"] if len(found) > _MOST else []
    return [*(text for _, text in found[:_MOST]), *more]


def _of_doubts(doubted: Doubted) -> Iterator[Word]:
    if doubted.share is not None and doubted.share.right:
        usual = "" if doubted.many else ", and of what you labelled about 5 % would"
        text = f"{100 * doubted.share.value:.0f} % look like nothing you labelled{usual}"
        yield Word(text, "with care" if doubted.many else "yes")
    if doubted.all_differ:
        yield Word("these data differ from what was trained on", "not yet")
    if doubted.tomograms:
        several = len(doubted.tomograms) > 1
        named = ", ".join(doubted.tomograms[:_MOST])
        more = f" and {len(doubted.tomograms) - _MOST} more" if len(doubted.tomograms) > _MOST else ""
        whose = "tomograms" if several else "tomogram"
        yield Word(f"{whose} {named}{more} {'differ' if several else 'differs'}: look at these", "with care")


def of_encoder(
    stability: tuple[int, float] | None,
    agreement: tuple[float, float],
    probes: Sequence[tuple[str, Proportion]],
    shares: Shares | None,
    collapsed: bool,
) -> Verdict:
    """Return the verdict on an encoder.

    ``stability``: how many clusters there are, and the mean adjusted Rand index between runs; ``agreement``: which
    share of neighbours has the label of its query, and would by chance; ``shares``: clusters by tomogram.
    """
    words = [Word("the features have collapsed: all subtomograms look alike to the encoder", "not yet")] * collapsed
    for name, found in probes:
        words.append(
            Word(f"a {name} tells the labels of {found.total} apart: {100 * found.value:.0f} % ({found.interval})")
        )
    if stability is not None:
        words.append(_of_clusters(*stability))
    same, chance = agreement
    if not math.isnan(same):
        better = same > 1.5 * chance
        text = (
            f"{100 * same:.0f} % of nearest neighbours share a label, where chance would make it {100 * chance:.0f} %"
        )
        words.append(Word(text, "yes" if better else "not yet"))
    for name, tomogram, share in shares.lone()[:_MOST] if shares is not None else ():
        text = f"cluster {name} is nearly all ({100 * share:.0f} %) of tomogram {tomogram}: its look, or a structure?"
        words.append(Word(text, "with care"))
    if not probes and math.isnan(same):
        words.append(Word("no label says what the clusters are: look at some of each", "with care"))
    return Verdict(words)


def _of_clusters(count: int, stability: float) -> Word:
    if stability >= STABLE:
        return Word(f"{count} clusters, which stay the same from run to run (stability {stability:.2f})")
    if stability >= UNSTABLE:
        return Word(f"{count} clusters, which change a little from run to run (stability {stability:.2f})", "with care")
    return Word(
        f"{count} clusters, which change from run to run (stability {stability:.2f}): do not count them", "not yet"
    )


def labels_learnt(trained: Trained, parts: np.ndarray | None) -> list[int]:
    """Return how many labels of each class a classifier learnt from; empty where the data are not those of its run."""
    if parts is None or not trained.classifies:
        return []
    recorded, dataset = trained.card["config"]["training"], trained.dataset
    train = np.flatnonzero(parts == "train")
    chosen = label_fraction(dataset, train, recorded["labels"], recorded["seed"], recorded.get("labels_per_class"))
    counts = np.bincount([dataset.labels[index] for index in chosen.tolist()], minlength=1)
    return counts[counts > 0].tolist()
