"""Training, validation and test parts, and nested fractions of the training labels.

Everything follows from hashes of (seed, id), so a split depends neither on the order of the files on disk nor on the
machine, and an added file moves few others.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Literal, NamedTuple, TypeVar

import numpy as np

from cryoreg.contracts import SubtomogramDataset
from cryoreg.errors import ConfigError, DataError

_STARTS = 16
"""Random starts of the search for a grouped split; the best result counts."""
_WORK = 20_000
"""Units (tomograms) times starts, at most: large sets need fewer starts."""
_SWEEPS = 10
_PENALTY = 10.0
_EPSILON = 1e-9

K = TypeVar("K", bound=Hashable)


SplitPart = Literal["train", "val", "test"]
"""The names of a split's parts."""


class Split(NamedTuple):
    """Indices into a data set, each sample in one part."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def require_classes(dataset: SubtomogramDataset) -> None:
    """Raise `DataError` unless the set is labelled with two classes or more: what training a classifier needs."""
    present = {label for label in dataset.labels if label is not None}
    if not present:
        raise DataError("the data set has no labels; put the files into one folder per class (root/<class>/*.mrc)")
    if len(present) == 1:
        name = dataset.classes[present.pop()]
        raise DataError(f"the data set has a single class ('{name}'); a classifier needs two or more")


def split(dataset: SubtomogramDataset, fractions: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int = 0) -> Split:
    """Split a data set into train, val and test by ``fractions``, stratified by class.

    Each class is within one subtomogram of its share, and so is the whole. Where tomograms (``groups``) are known,
    none is cut in two, and the shares are as near as that allows; likewise for subtomograms known to be identical
    (``duplicates``). The order of the indices depends on seed and ids alone. Raises `DataError` where a class is too
    small to be in every part, or identical subtomograms have different labels.
    """
    _check_fractions(fractions)
    if not len(dataset):
        raise DataError("the data set holds no subtomograms; check its path")
    order = _hashed_order(dataset.ids, seed)
    copies = _copies(dataset)
    labels = [dataset.labels[i] for i in order]
    shares = np.array(fractions)
    if any(group is not None for group in dataset.groups):
        parts = _grouped(dataset, order, labels, copies, shares, seed)
    else:
        parts = _one_by_one(dataset, order, labels, copies, shares)
    return Split(*(order[parts == part] for part in range(len(fractions))))


def label_fraction(
    dataset: SubtomogramDataset, train: np.ndarray, fraction: float, seed: int = 0, per_class: int | None = None
) -> np.ndarray:
    """Return the ``train`` indices whose labels are used: ``fraction`` of each class, rounded, at least one.

    With ``per_class``, so many of each class instead. Nested: with one seed, fewer labels are a subset of more, and a
    fraction of 1 is all of ``train``. Raises `ConfigError` for a fraction outside (0, 1], `DataError` where a class has
    fewer than ``per_class``.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"label fraction {fraction} is not above 0 and at most 1")
    order = train[_hashed_order([dataset.ids[i] for i in train], seed, "label fraction")]
    members = _positions([dataset.labels[i] for i in order])
    if per_class is not None:
        _require_members(dataset, members, per_class)
    counts = {label: per_class or max(1, math.floor(fraction * len(part) + 0.5)) for label, part in members.items()}
    chosen = [part[: counts[label]] for label, part in members.items()]
    return order[np.sort(np.concatenate(chosen))]


def _require_members(dataset: SubtomogramDataset, members: dict[int | None, np.ndarray], per_class: int) -> None:
    for label, part in members.items():
        if len(part) < per_class:
            raise DataError(
                f"{_name(dataset, label)} has {len(part)} subtomograms in the train split, fewer than "
                f"training.labels_per_class {per_class}; lower it"
            )


def _check_fractions(fractions: Sequence[float]) -> None:
    if len(fractions) != len(Split._fields) or not min(fractions) >= 0 or fractions[0] == 0:
        raise ConfigError(f"split fractions {fractions} are not three shares (train, val, test) with train above 0")
    if not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise ConfigError(f"split fractions {fractions} add up to {sum(fractions):g}, not 1")


def _hashed_order(ids: Sequence[str], seed: int, salt: str = "split") -> np.ndarray:
    keys = [_hash(f"{salt}\0{seed}\0{name}") for name in ids]
    return np.array(sorted(range(len(ids)), key=keys.__getitem__), dtype=np.int64)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _positions(keys: Iterable[K]) -> dict[K, np.ndarray]:
    """Return where each key stands."""
    found: dict[K, list[int]] = {}
    for position, key in enumerate(keys):
        found.setdefault(key, []).append(position)
    return {key: np.array(positions) for key, positions in found.items()}


def _copies(dataset: SubtomogramDataset) -> list[list[int]]:
    """Return the subtomograms known to be identical; raise `DataError` where such have different labels."""
    known = getattr(dataset, "duplicates", None) or ()
    found = _positions(known)
    copies = [members.tolist() for key, members in found.items() if key is not None and len(members) > 1]
    for members in copies:
        labelled = {dataset.labels[i]: i for i in members if dataset.labels[i] is not None}
        if len(labelled) > 1:
            (one, first), (other, second), *_ = labelled.items()
            raise DataError(
                f"'{dataset.ids[first]}' and '{dataset.ids[second]}' are identical, but the one is in "
                f"{_name(dataset, one)} and the other in {_name(dataset, other)}; remove one"
            )
    return copies


def _strata(dataset: SubtomogramDataset) -> list[int | None]:
    """Return every label that the split balances: all classes, and None where some samples have no label."""
    return [*([None] if None in dataset.labels else []), *range(len(dataset.classes))]


def _name(dataset: SubtomogramDataset, label: int | None) -> str:
    return "the unlabelled part" if label is None else f"class '{dataset.classes[label]}'"


def _one_by_one(
    dataset: SubtomogramDataset,
    order: np.ndarray,
    labels: list[int | None],
    copies: list[list[int]],
    shares: np.ndarray,
) -> np.ndarray:
    """Return the part of each sample: the first of identical ones is drawn, the others follow it."""
    leader = np.arange(len(order))
    position = np.argsort(order)
    for members in copies:
        leader[position[members]] = position[members].min()
    drawn = np.flatnonzero(leader == np.arange(len(order)))
    parts = np.empty(len(order), dtype=np.int64)
    parts[drawn] = _stratified(dataset, [labels[i] for i in drawn], shares)
    return parts[leader]


def _stratified(dataset: SubtomogramDataset, labels: list[int | None], shares: np.ndarray) -> np.ndarray:
    """Return the part of each sample, class by class; what rounding owes a part is carried to the next class."""
    parts = np.empty(len(labels), dtype=np.int64)
    owed = np.zeros(len(shares))
    needed = np.count_nonzero(shares)
    found = _positions(labels)
    for label in _strata(dataset):
        members = found.get(label, np.array([], dtype=np.int64))
        if len(members) < needed:
            raise DataError(
                f"{_name(dataset, label)} has {len(members)} subtomograms, too few for {needed} parts; "
                "add some or remove the class"
            )
        counts = _apportion(len(members), shares, owed)
        owed += len(members) * shares - counts
        parts[members] = np.repeat(np.arange(len(shares)), counts)
    return parts


def _apportion(total: int, shares: np.ndarray, owed: np.ndarray) -> np.ndarray:
    """Round ``total * shares`` up or down to integers with that sum, none 0 unless its share is.

    Those parts are rounded up that are owed most.
    """
    exact = total * shares
    counts = np.floor(exact + _EPSILON).astype(np.int64)
    whole = exact - counts < _EPSILON
    priority = np.lexsort((counts - exact - owed, whole))
    counts[priority[: total - counts.sum()]] += 1
    for part in np.flatnonzero((counts == 0) & (shares > 0)):
        counts[counts.argmax()] -= 1
        counts[part] = 1
    return counts


def _grouped(
    dataset: SubtomogramDataset,
    order: np.ndarray,
    labels: list[int | None],
    copies: list[list[int]],
    shares: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Return the part of each sample with every tomogram in one part, by local search from random starts."""
    names = _joined([_unit(dataset, i) for i in range(len(dataset))], copies)
    units = _positions(names[i] for i in order)
    strata = _strata(dataset)
    columns = np.array([strata.index(label) for label in labels])
    tallies = np.stack([np.bincount(columns[members], minlength=len(strata)) for members in units.values()])
    _require_spread(dataset, strata, tallies, int(np.count_nonzero(shares)))
    search = _Search(tallies, shares)
    starts = min(_STARTS, max(1, _WORK // len(units)))
    tries = [search.descend(_hashed_order(list(units), seed, f"start {start}")) for start in range(starts)]
    best = min(tries, key=search.cost)
    parts = np.empty(len(labels), dtype=np.int64)
    for members, part in zip(units.values(), best, strict=True):
        parts[members] = part
    _require_everywhere(dataset, strata, search.have(best), shares)
    return parts


def _unit(dataset: SubtomogramDataset, index: int) -> str:
    """Return the name of what must stay together: the tomogram, or the sample itself where none is known."""
    group = dataset.groups[index]
    return f"sample\0{dataset.ids[index]}" if group is None else f"tomogram\0{group}"


def _joined(units: list[str], copies: list[list[int]]) -> list[str]:
    """Return the units after those that hold identical subtomograms have become one."""
    into: dict[str, str] = {}

    def root(unit: str) -> str:
        while unit in into:
            unit = into[unit]
        return unit

    for members in copies:
        first, *others = sorted({root(units[i]) for i in members})
        into |= dict.fromkeys(others, first)
    return [root(unit) for unit in units]


def _require_spread(dataset: SubtomogramDataset, strata: list[int | None], tallies: np.ndarray, needed: int) -> None:
    for label, spread in zip(strata, np.count_nonzero(tallies, axis=0), strict=True):
        if spread < needed:
            raise DataError(
                f"{_name(dataset, label)} is in {spread} tomograms, too few for {needed} parts "
                "(a tomogram is never cut in two); add tomograms or remove the class"
            )


def _require_everywhere(
    dataset: SubtomogramDataset, strata: list[int | None], have: np.ndarray, shares: np.ndarray
) -> None:
    empty = np.argwhere((have == 0) & (shares[:, None] > 0))
    if len(empty):
        part, column = empty[0]
        raise DataError(
            f"no split by whole tomograms was found that puts {_name(dataset, strata[column])} into "
            f"{Split._fields[part]}; add tomograms, or try another seed or other fractions"
        )


class _Search:
    """Coordinate descent over which part each unit (tomogram) goes to.

    The cost is the summed square of each class's deviation from its share in each part, relative to the class, plus
    a penalty for every class that a part lacks.
    """

    def __init__(self, tallies: np.ndarray, shares: np.ndarray) -> None:
        """Take class counts per unit (units, classes) and the parts' shares."""
        self.tallies, self.shares = tallies, shares
        self.totals = tallies.sum(axis=0)
        self.open = np.flatnonzero(shares)
        self._one_hot = np.eye(len(shares), dtype=np.int64)

    def have(self, parts: np.ndarray) -> np.ndarray:
        """Return the class counts of each part, (parts, classes)."""
        return np.stack([self.tallies[parts == part].sum(axis=0) for part in range(len(self.shares))])

    def cost(self, parts: np.ndarray) -> float:
        """Return how far an assignment is from the shares."""
        return float(self._cost(self.have(parts)))

    def _cost(self, have: np.ndarray) -> np.ndarray:
        deviation = have / self.totals - self.shares[:, None]
        lacking = (have == 0) & (self.shares[:, None] > 0)
        return (deviation**2 + _PENALTY * lacking).sum(axis=(-2, -1))

    def descend(self, order: np.ndarray) -> np.ndarray:
        """Cut the units, in ``order``, by the shares; then move single units while that helps."""
        parts = self._cut(order)
        have = self.have(parts)
        for _ in range(_SWEEPS):
            if sum(self._move(unit, parts, have) for unit in order) == 0:
                break
        return parts

    def _move(self, unit: int, parts: np.ndarray, have: np.ndarray) -> bool:
        """Put a unit where the cost is least, updating ``parts`` and ``have``; tell whether it moved."""
        here, tally = parts[unit], self.tallies[unit]
        have[here] -= tally
        costs = self._cost(have + self._one_hot[:, :, None] * tally)
        best = self.open[costs[self.open].argmin()]
        parts[unit] = best if costs[best] < costs[here] - _EPSILON else here
        have[parts[unit]] += tally
        return bool(parts[unit] != here)

    def _cut(self, order: np.ndarray) -> np.ndarray:
        sizes = self.tallies.sum(axis=1)[order]
        middles = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
        parts = np.empty(len(order), dtype=np.int64)
        parts[order] = self.open[np.searchsorted(np.cumsum(self.shares[self.open])[:-1], middles)]
        return parts
