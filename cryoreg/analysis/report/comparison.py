"""Runs side by side: what can be compared of them, and what cannot."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from cryoreg.analysis.clusters import Clustering
from cryoreg.analysis.report.layout import clusters_of, nearest
from cryoreg.analysis.report.measured import Measured, measured_of
from cryoreg.analysis.report.quality import evaluation_of
from cryoreg.analysis.report.run_facts import sections
from cryoreg.analysis.report.verdict import labels_learnt
from cryoreg.config import Layer
from cryoreg.errors import ConfigError
from cryoreg.inference.embedding import Embedding, Part
from cryoreg.inference.evaluate import Evaluation
from cryoreg.inference.trained import Trained
from cryoreg.training.cross_validation import CROSS_VALIDATED

_SURE = 0.05
"""Of all pairs together (Holm 1979): a difference that chance would make more seldom."""
_SAME = 0.9
"""Adjusted Rand index of clusters that are the same."""


class Contender(NamedTuple):
    """A run."""

    name: str
    trained: Trained
    measured: Measured
    judged: Embedding
    """Of what is measured."""
    evaluation: Evaluation | None
    clusters: Clustering | None
    """Of an encoder's features."""


class Pair(NamedTuple):
    """Two classifiers on the same subtomograms."""

    first: int
    second: int
    """Runs."""
    only_first: NDArray[np.int64]
    only_second: NDArray[np.int64]
    """Rows of what is measured on which only one is right."""
    chance: float
    """McNemar's exact p, corrected for the number of pairs (Holm)."""


class Comparison(NamedTuple):
    """Runs that were judged by the same subtomograms."""

    runs: list[Contender]
    pairs: list[Pair]
    """Of classifiers, the surest difference first."""
    agreements: list[tuple[int, int, float]]
    """Of encoders: two runs, and the adjusted Rand index between their clusters."""
    words: list[str]
    """What it comes to."""
    settings: list[tuple[str, list[str]]]
    """Those that differ: name, and the value in each run."""

    @property
    def classifies(self) -> bool:
        """Whether the runs are classifiers."""
        return self.runs[0].trained.classifies


def compare(
    runs: Sequence[Path], layers: Sequence[Layer], part: Part | None, say: Callable[[str], object]
) -> Comparison:
    """Judge runs by the same subtomograms.

    Raises `ConfigError`, one line, where they cannot be compared: a classifier with an encoder, other classes, other
    subtomograms to be judged by.
    """
    names = names_of(runs)
    contenders = [_contender(name, run, layers, part, say) for name, run in zip(names, runs, strict=True)]
    require_comparable(contenders)
    pairs = pairs_of(contenders) if all(one.evaluation for one in contenders) else []
    agreements = _agreements(contenders)
    classify = contenders[0].trained.classifies
    words = _of_classifiers(contenders, pairs) if classify else _of_encoders(contenders, agreements)
    return Comparison(contenders, pairs, agreements, words, differing(contenders))


def names_of(runs: Sequence[Path]) -> list[str]:
    """Return a name for each run: the end of its path by which it differs from the others."""
    paths = [run.absolute() for run in runs]
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError(f"{runs[0]}: a run is compared with itself; name different ones")
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def _contender(
    name: str, run: Path, layers: Sequence[Layer], part: Part | None, say: Callable[[str], object]
) -> Contender:
    trained = Trained.open(run, layers)
    for line in trained.remarks():
        say(f"{name}: {line}")
    measured = measured_of(trained, part)
    judged, _ = measured.embed(trained, measured.samples[:0])
    clusters = None if trained.classifies else clusters_of(judged.features)
    return Contender(name, trained, measured, judged, evaluation_of(judged, measured.part), clusters)


def require_comparable(runs: Sequence[Contender]) -> None:
    """Raise `ConfigError`, one line, unless all are judged in one way, by the same labels of the same subtomograms."""
    first = runs[0]
    for other in runs[1:]:
        both = f"{first.name} and {other.name} cannot be compared:"
        if first.trained.classifies != other.trained.classifies:
            kinds = {True: "a classifier", False: "an encoder"}
            one, two = (f"{run.name} is {kinds[run.trained.classifies]}" for run in (first, other))
            raise ConfigError(f"{both} {one}, {two}; give the runs of one kind")
        if first.measured.part != other.measured.part:
            one, two = (f"{run.name} {_WAYS.get(run.measured.part, _BY_PART)}" for run in (first, other))
            raise ConfigError(f"{both} {one}, {two}; train both with the same --split")
        if set(first.judged.classes) != set(other.judged.classes):
            raise ConfigError(f"{both} they tell other classes apart; train both on the same labels")
        _require_same_labels(both, first, other)


_BY_PART = "is judged by a part that was held out"
_WAYS = {CROSS_VALIDATED: "is judged out of fold (cross-validation)", "all": "by all of data that it did not split"}


def _require_same_labels(both: str, first: Contender, other: Contender) -> None:
    one, two = (dict(zip(run.judged.ids, run.judged.labels, strict=True)) for run in (first, other))
    common = one.keys() & two.keys()
    if len(common) < max(len(one), len(two)):
        raise ConfigError(
            f"{both} they are judged by different {first.measured.part} subtomograms ({len(common)} in common, of "
            f"{len(one)} and {len(two)}); train both on the same data with the same split"
        )
    differ = [name for name in one if one[name] != two[name]]
    if differ:
        raise ConfigError(f"{both} {len(differ)} subtomograms have other labels (the first: {differ[0]})")


def pairs_of(runs: Sequence[Contender]) -> list[Pair]:
    """Return for each two classifiers on which subtomograms only one of them is right, and what chance would make."""
    right = [_right(run) for run in runs]
    found = []
    for a, b in combinations(range(len(runs)), 2):
        first, second = np.flatnonzero(right[a] & ~right[b]), np.flatnonzero(right[b] & ~right[a])
        either = len(first) + len(second)
        found.append(Pair(a, b, first, second, binomtest(len(first), either).pvalue if either else 1.0))
    found.sort(key=lambda pair: pair.chance)
    corrected, least = [], 0.0
    for rank, pair in enumerate(found):
        least = max(least, min(1.0, (len(found) - rank) * pair.chance))
        corrected.append(pair._replace(chance=least))
    return corrected


def _right(run: Contender) -> NDArray[np.bool_]:
    """Return whether each labelled subtomogram is classified rightly, in the order of their ids."""
    assert run.evaluation is not None
    order = np.argsort(np.array(run.evaluation.ids, dtype=object))
    return (run.evaluation.labels == run.evaluation.predictions)[order]


def ids_in_order(run: Contender) -> list[str]:
    """Return the ids that the rows of a `Pair` count."""
    assert run.evaluation is not None
    return sorted(run.evaluation.ids)


def _agreements(runs: Sequence[Contender]) -> list[tuple[int, int, float]]:
    from sklearn.metrics import adjusted_rand_score

    found = []
    for a, b in combinations(range(len(runs)), 2):
        one, two = runs[a], runs[b]
        if one.clusters is not None and two.clusters is not None:
            place = {name: row for row, name in enumerate(two.judged.ids)}
            order = [place[name] for name in one.judged.ids]
            found.append((a, b, float(adjusted_rand_score(one.clusters.clusters, two.clusters.clusters[order]))))
    return found


def _of_classifiers(runs: Sequence[Contender], pairs: Sequence[Pair]) -> list[str]:
    words = [_of_pair(runs, pair, ", Holm" if len(pairs) > 1 else "") for pair in pairs]
    if any(run.measured.learnt_from for run in runs):
        words.append("not held out: the runs have learnt from these subtomograms, or were chosen by them")
    if not pairs:
        words.append("nothing here has a label to judge the runs by")
    return words


def _of_pair(runs: Sequence[Contender], pair: Pair, corrected: str) -> str:
    sides = (len(pair.only_first), runs[pair.first].name), (len(pair.only_second), runs[pair.second].name)
    (fewer, worse), (more, better) = sorted(sides)
    chance = f"p = {pair.chance:.2g}, McNemar{corrected}"
    if pair.chance < _SURE:
        return f"{better} is better than {worse}: right on {more} where that is wrong, wrong on {fewer} ({chance})"
    alone = f"{better} alone is right on {more}, {worse} alone on {fewer}"
    return f"these subtomograms show no difference between {better} and {worse}: {alone} ({chance})"


def _of_encoders(runs: Sequence[Contender], agreements: Sequence[tuple[int, int, float]]) -> list[str]:
    words = []
    for a, b, index in agreements:
        like = "the same clusters" if index >= _SAME else "other clusters"
        words.append(f"{runs[a].name} and {runs[b].name} find {like} (adjusted Rand index {index:.2f})")
    shares = [nearest(run.judged.features).agreement(run.judged.labels)[0] for run in runs]
    if not any(math.isnan(share) for share in shares):
        best = int(np.argmax(shares))
        told = ", ".join(f"{run.name} {100 * share:.0f} %" for run, share in zip(runs, shares, strict=True))
        words.append(f"nearest neighbours share their label most often in {runs[best].name} ({told})")
    return words


def differing(runs: Sequence[Contender]) -> list[tuple[str, list[str]]]:
    """Return the settings in which runs differ, and how many labels of a class each classifier learnt from."""
    tables = []
    for run in runs:
        known = {"labels of a class": _labels(run)} if run.trained.classifies else {}
        for section in sections(run.trained):
            known[section.name] = section.component
            known |= {f"{section.name}.{one.key}": one.value for one in section.settings}
        tables.append(known)
    names = dict.fromkeys(name for table in tables for name in table)
    rows = [(name, [table.get(name, "") for table in tables]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _labels(run: Contender) -> str:
    counts = labels_learnt(run.trained, run.measured.parts)
    return "" if not counts else f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
