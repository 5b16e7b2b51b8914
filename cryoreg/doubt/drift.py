"""Are these data what a classifier was trained on? Properties of their subtomograms beside those of validation.

A property's values are taken about the mean of their predicted class, so that other shares of the classes are no
difference, and turned into normal scores: Φ⁻¹ of the share of validation subtomograms below. Where nothing differs, the
mean of n scores is 0, with the variance v (Σᵢ nᵢ² / n² + Σᵢ Nᵢ² / N²) + 1 / n + Σ_c (n_c / n)² / N_c, for tomograms of
nᵢ subtomograms here and Nᵢ in validation, and classes of n_c and N_c; v is the variance between tomograms. The last
term is of the class means, which may be of few; to draw them to the mean of all would move scores where shares differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FALSE_ALARMS = 0.05
"""Of calls on data of the same kind, at most; all tests of a call together (Bonferroni)."""
LEAST_SHIFT = 0.5
"""Standard deviations between validation subtomograms: a smaller shift is no difference that matters, however sure."""
LEAST_CHANGE = 0.25
"""Of all subtomograms, that are of other classes than in validation: the total variation between shares."""
LEAST_OF_A_TOMOGRAM = 5
LEAST_REFERENCE = 20
"""Validation subtomograms."""
CLASS_SHARES = "class shares"
_USUAL_VARIANCE = 0.15**2
"""Of tomograms, where they are not known."""
_USUAL_FREEDOM = 4.0
"""Degrees of freedom that the usual variance is worth beside tomograms that are known."""

Floats = NDArray[np.float64]
Classes = NDArray[np.int64]
Groups = Sequence[str | None]


class Seen(NamedTuple):
    """What N subtomograms look like, to the eye and to a classifier."""

    values: Floats
    """(N, properties)."""
    predictions: Classes
    """(N,)."""
    groups: Groups
    """The tomogram of each."""


class Reference(NamedTuple):
    """What is learnt of validation (N) and training subtomograms."""

    names: tuple[str, ...]
    """Of the properties."""
    values: Floats
    """(N or fewer, properties), about the mean of the predicted class, each column in order; without classes of one."""
    means: Floats
    """(classes, properties): mean of each predicted class; of all for those that nothing was predicted as."""
    counts: NDArray[np.int64]
    """(classes,): how many were predicted."""
    between: Floats
    """(properties,): the variance of scores between tomograms."""
    freedom: float
    """Its degrees of freedom; inf where tomograms are not known."""
    concentration: float
    """Σ Nᵢ² / N² over the tomograms of validation; 0 where they are not known."""
    dispersion: float
    """How many times the variance of chance the counts of classes vary between tomograms; 1 where not known."""


class Difference(NamedTuple):
    """A property that is not as it was in validation."""

    tomogram: str | None
    """None: all subtomograms together."""
    name: str
    shift: float
    """Mean normal score, standard deviations; of `CLASS_SHARES` the share of subtomograms in other classes."""
    mean: float
    """Of the property as it is."""
    usual: float
    """The same in validation."""
    label: int | None = None
    """Of `CLASS_SHARES` the class that grew most."""


def learn_reference(names: Sequence[str], validation: Seen, training: Seen, classes: int) -> Reference:
    """Return what drift is measured from; tomograms of training tell, too, how much these vary."""
    means = _class_means(validation, classes)
    counts = np.bincount(validation.predictions, minlength=classes)
    residuals = _residuals(validation, means)[counts[validation.predictions] > 1]
    parts = [(part, known) for part in (validation, training) if (known := _tomograms(part.groups))]
    between, freedom = _between(parts, classes) if parts else (np.full(len(names), _USUAL_VARIANCE), np.inf)
    sizes = np.array([len(rows) for rows in _tomograms(validation.groups).values()])
    return Reference(
        names=tuple(names),
        values=np.sort(residuals, axis=0),
        means=means,
        counts=counts,
        between=between,
        freedom=freedom,
        concentration=float((sizes**2).sum() / max(1, sizes.sum()) ** 2),
        dispersion=_dispersion(parts, classes),
    )


def differences(reference: Reference, seen: Seen) -> list[Difference]:
    """Return in what subtomograms differ from validation, all together first, then tomogram by tomogram.

    Tomograms of fewer than `LEAST_OF_A_TOMOGRAM` are looked at with all others only. Of a class that validation never
    had, shares alone are compared. Where fewer than `LEAST_REFERENCE` of validation tell what is usual (`values`),
    nothing can be told, and nothing is returned.
    """
    if len(reference.values) < LEAST_REFERENCE or not len(seen.values):
        return []
    residuals = seen.values - reference.means[seen.predictions]
    scores = normal_scores(reference.values, residuals)
    sets = _sets(seen.groups)
    level = FALSE_ALARMS / (len(sets) * (len(reference.names) + 1))
    found = []
    for tomogram, rows in sets.items():
        found += _shifts(reference, seen, scores, tomogram, rows, level)
        found += _other_shares(reference, seen, tomogram, rows, level)
    return found


def normal_scores(reference: Floats, values: Floats) -> Floats:
    """Return Φ⁻¹ of the share of ``reference`` (N, K) that lies below ``values`` (n, K), column by column.

    ``reference`` is sorted; of equal values half count as below, and half a subtomogram more than there are on either
    side, so that scores are finite.
    """
    from scipy.special import ndtri

    columns = zip(reference.T, values.T, strict=True)
    twice = [np.searchsorted(known, new, "left") + np.searchsorted(known, new, "right") for known, new in columns]
    return ndtri((np.stack(twice, axis=1) + 1) / (2 * len(reference) + 2))


def _shifts(
    reference: Reference, seen: Seen, scores: Floats, tomogram: str | None, rows: Classes, level: float
) -> list[Difference]:
    from scipy.stats import t

    rows = rows[reference.counts[seen.predictions[rows]] > 0]
    if not len(rows):
        return []
    count = len(rows)
    shares = np.bincount(seen.predictions[rows], minlength=len(reference.counts)) / count
    of_means = (shares**2 / np.maximum(1, reference.counts)).sum()
    sizes = np.array([len(group) for group in _tomograms([seen.groups[row] for row in rows]).values()] or [count])
    variance = reference.between * ((sizes**2).sum() / count**2 + reference.concentration) + 1 / count + of_means
    shifts = scores[rows].mean(0)
    chances = 2 * t.sf(np.abs(shifts) / np.sqrt(variance), reference.freedom)
    told = np.flatnonzero((chances < level) & (np.abs(shifts) >= LEAST_SHIFT))
    usual = reference.counts @ reference.means / reference.counts.sum()
    return [
        Difference(tomogram, reference.names[k], float(shifts[k]), float(seen.values[rows, k].mean()), float(usual[k]))
        for k in told
    ]


def _other_shares(
    reference: Reference, seen: Seen, tomogram: str | None, rows: Classes, level: float
) -> list[Difference]:
    from scipy.stats import chi2

    counts = np.bincount(seen.predictions[rows], minlength=len(reference.counts))
    statistic, freedom = _chi_square(np.stack([counts, reference.counts]))
    shares, usual = counts / counts.sum(), reference.counts / reference.counts.sum()
    change = float(np.abs(shares - usual).sum() / 2)
    if change < LEAST_CHANGE or chi2.sf(statistic / reference.dispersion, freedom) >= level:
        return []
    grown = int((shares - usual).argmax())
    return [Difference(tomogram, CLASS_SHARES, change, float(shares[grown]), float(usual[grown]), grown)]


def _class_means(seen: Seen, classes: int) -> Floats:
    """Return the mean of each predicted class; that of all where there is none of it."""
    means = np.tile(seen.values.mean(0), (classes, 1))
    for label in np.unique(seen.predictions):
        means[label] = seen.values[seen.predictions == label].mean(0)
    return means


def _residuals(seen: Seen, means: Floats) -> Floats:
    """Return values about the mean of their class, which they are part of: as wide as about one that they are not."""
    count = np.bincount(seen.predictions, minlength=len(means))[seen.predictions]
    return (seen.values - means[seen.predictions]) * np.sqrt(count / np.maximum(1, count - 1))[:, None]


def _between(parts: Sequence[tuple[Seen, dict[str, Classes]]], classes: int) -> tuple[Floats, float]:
    """Return the variance of scores between tomograms, and its degrees of freedom; the usual one is counted in."""
    squares, freedom = np.zeros(parts[0][0].values.shape[1]), 0
    for seen, tomograms in parts:
        residuals = _residuals(seen, _class_means(seen, classes))
        scores = normal_scores(np.sort(residuals, axis=0), residuals)
        large = [rows for rows in tomograms.values() if len(rows) >= LEAST_OF_A_TOMOGRAM]
        if len(large) > 1:
            means = np.stack([scores[rows].mean(0) for rows in large])
            chance = np.mean([1 / len(rows) for rows in large])
            squares = squares + (len(large) - 1) * np.maximum(0, means.var(0, ddof=1) - chance)
            freedom += len(large) - 1
    total = _USUAL_FREEDOM + freedom
    return (_USUAL_FREEDOM * _USUAL_VARIANCE + squares) / total, total


def _dispersion(parts: Sequence[tuple[Seen, dict[str, Classes]]], classes: int) -> float:
    """Return χ² of tomograms × predicted classes over its degrees of freedom, at least 1."""
    tables = [
        np.stack([np.bincount(seen.predictions[rows], minlength=classes) for rows in tomograms.values()])
        for seen, tomograms in parts
    ]
    found = np.array([_chi_square(table) for table in tables if len(table) > 1])
    return max(1.0, float(found[:, 0].sum() / max(1, found[:, 1].sum()))) if len(found) else 1.0


def _chi_square(table: NDArray[np.int64]) -> tuple[float, int]:
    """Return Pearson's χ² of independence and its degrees of freedom; columns without any count are left out."""
    table = table[:, table.sum(0) > 0]
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    return float(((table - expected) ** 2 / expected).sum()), (len(table) - 1) * (table.shape[1] - 1)


def _tomograms(groups: Groups) -> dict[str, Classes]:
    """Return tomogram -> rows; none where a subtomogram's is not known."""
    if any(group is None for group in groups):
        return {}
    names, place = np.unique(np.array(groups, dtype=object).astype(str), return_inverse=True)
    return {str(name): np.flatnonzero(place == number) for number, name in enumerate(names)}


def _sets(groups: Groups) -> dict[str | None, Classes]:
    """Return what is compared: all, and each tomogram that has enough, where there is more than one."""
    tomograms = _tomograms(groups)
    sets: dict[str | None, Classes] = {None: np.arange(len(groups))}
    if len(tomograms) > 1:
        sets |= {name: rows for name, rows in tomograms.items() if len(rows) >= LEAST_OF_A_TOMOGRAM}
    return sets
