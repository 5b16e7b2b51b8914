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

from cryoreg.contracts import Subtomograms
from cryoreg.datasets.split_search import Search
from cryoreg.datasets.subsets import Divisible, Some, labelled_of, units_of
from cryoreg.datasets.unlabelled import names_no_class
from cryoreg.errors import ConfigError, DataError

_STARTS = 16
"""Random starts of the search for a grouped split; the best result counts."""
_WORK = 20_000
"""Units (tomograms) times starts, at most: large sets need fewer starts."""
_EPSILON = 1e-9

K = TypeVar("K", bound=Hashable)


SplitPart = Literal["train", "val", "test"]
"""The names of a split's parts."""


class Split(NamedTuple):
    """Indices into a data set: each labelled sample in one part, unlabelled ones in train or in none."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def require_classes(dataset: Subtomograms) -> None:
    """Raise `DataError` unless the set is labelled with two classes or more: what training a classifier needs.

    None may have a name that stands for no class, as none and NA do: what is predicted could not be read back.
    """
    present = {label for label in dataset.labels if label is not None}
    if not present:
        raise DataError(
            "the data set has no labels; put the files into one folder per class (root/<class>/*.mrc), or give a "
            "list of ids and classes: --labels-from FILE"
        )
    if len(present) == 1:
        name = dataset.classes[present.pop()]
        raise DataError(f"the data set has a single class ('{name}'); a classifier needs two or more")
    for name in filter(names_no_class, dataset.classes):
        raise DataError(f"there is a class '{name}', which stands for no class in lists; call it junk, for example")


def split(dataset: Divisible, fractions: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int = 0) -> Split:
    """Split a data set into train, val and test by ``fractions``, stratified by class.

    Each class is within one subtomogram of its share, and so is the whole. Where tomograms (``groups``) are known,
    none is cut in two, and the shares are as near as that allows; likewise for subtomograms known to be identical
    (``duplicates``). The order of the indices depends on seed and ids alone. Raises `DataError` where a class is too
    small to be in every part, or identical subtomograms have different labels.

    Unlabelled samples of a labelled set change nothing for the others: they join train, but for those whose tomogram or
    whose copy is in another part; these are in none. A set without any label is divided as if it were one class.
    """
    _check_fractions(fractions)
    if not len(dataset):
        raise DataError("the data set holds no subtomograms; check its path")
    labelled = labelled_of(dataset)
    if not 0 < len(labelled) < len(dataset):
        return Split(*divided(dataset, fractions, seed, Split._fields))
    parts = divided(Some.of(dataset, labelled.tolist()), fractions, seed, Split._fields)
    return with_unlabelled(dataset, Split(*(labelled[part] for part in parts)), seed)


def divided(dataset: Divisible, shares: Sequence[float], seed: int, names: Sequence[str]) -> list[np.ndarray]:
    """Return the indices of each part, as `split` does, of parts of any number; ``names`` are for messages."""
    order = _hashed_order(dataset.ids, seed)
    labels = [dataset.labels[i] for i in order]
    if any(group is not None for group in dataset.groups):
        parts = _grouped(dataset, order, labels, np.array(shares), seed, names)
    else:
        parts = _one_by_one(dataset, order, labels, _copies(dataset), np.array(shares))
    return [order[parts == part] for part in range(len(shares))]


def spread(dataset: Divisible) -> list[int]:
    """Return in how many units (tomograms; samples where none is known) each class is that the set has."""
    units, labels = _kept_whole(dataset), dataset.labels
    found: dict[int | None, set[str]] = {}
    for unit, label in zip(units, labels, strict=True):
        found.setdefault(label, set()).add(unit)
    return [len(found[label]) for label in sorted(found, key=lambda label: -1 if label is None else label)]


def with_unlabelled(dataset: Divisible, parts: Split, seed: int) -> Split:
    """Return the parts with the unlabelled samples in train that share no tomogram or voxels with another part."""
    held_out = {*parts.val.tolist(), *parts.test.tolist()}
    tomograms = {dataset.groups[index] for index in held_out} - {None}
    copies = {index for members in _copies(dataset) if held_out.intersection(members) for index in members}
    free = [
        index
        for index, (label, group) in enumerate(zip(dataset.labels, dataset.groups, strict=True))
        if label is None and group not in tomograms and index not in copies
    ]
    order = _hashed_order(dataset.ids, seed)
    return parts._replace(train=order[np.isin(order, [*parts.train.tolist(), *free])])


def label_fraction(
    dataset: Subtomograms, train: np.ndarray, fraction: float, seed: int = 0, per_class: int | None = None
) -> np.ndarray:
    """Return the labelled ``train`` indices that are used: ``fraction`` of each class, rounded, at least one.

    With ``per_class``, so many of each class instead. Nested: with one seed, fewer labels are a subset of more, and a
    fraction of 1 is all there are. Raises `ConfigError` for a fraction outside (0, 1], `DataError` where a class has
    fewer than ``per_class``.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"label fraction {fraction} is not above 0 and at most 1")
    train = np.array([i for i in train.tolist() if dataset.labels[i] is not None], np.int64)
    order = train[_hashed_order([dataset.ids[i] for i in train], seed, "label fraction")]
    members = _positions([dataset.labels[i] for i in order])
    if per_class is not None:
        _require_members(dataset, members, per_class)
    counts = {label: per_class or max(1, math.floor(fraction * len(part) + 0.5)) for label, part in members.items()}
    chosen = [part[: counts[label]] for label, part in members.items()]
    return order[np.sort(np.concatenate(chosen))]


def _require_members(dataset: Divisible, members: dict[int | None, np.ndarray], per_class: int) -> None:
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


def _copies(dataset: Divisible) -> list[list[int]]:
    """Return the subtomograms known to be identical; raise `DataError` where such have different labels."""
    known = dataset.duplicates or ()
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


def _strata(dataset: Divisible) -> list[int | None]:
    """Return every label that the split balances: all classes, and None where some samples have no label."""
    return [*([None] if None in dataset.labels else []), *range(len(dataset.classes))]


def _name(dataset: Divisible, label: int | None) -> str:
    return "the unlabelled part" if label is None else f"class '{dataset.classes[label]}'"


def _one_by_one(
    dataset: Divisible,
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


def _stratified(dataset: Divisible, labels: list[int | None], shares: np.ndarray) -> np.ndarray:
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
    dataset: Divisible,
    order: np.ndarray,
    labels: list[int | None],
    shares: np.ndarray,
    seed: int,
    parts_named: Sequence[str],
) -> np.ndarray:
    """Return the part of each sample with every tomogram in one part, by local search from random starts."""
    kept = _kept_whole(dataset)
    units = _positions(kept[i] for i in order)
    strata = _strata(dataset)
    columns = np.array([strata.index(label) for label in labels])
    tallies = np.stack([np.bincount(columns[members], minlength=len(strata)) for members in units.values()])
    _require_spread(dataset, strata, tallies, int(np.count_nonzero(shares)))
    search = Search(tallies, shares)
    starts = min(_STARTS, max(1, _WORK // len(units)))
    tries = [search.descend(_hashed_order(list(units), seed, f"start {start}")) for start in range(starts)]
    best = min(tries, key=search.cost)
    parts = np.empty(len(labels), dtype=np.int64)
    for members, part in zip(units.values(), best, strict=True):
        parts[members] = part
    _require_everywhere(dataset, strata, search.have(best), shares, parts_named)
    return parts


def _kept_whole(dataset: Divisible) -> list[str]:
    """Return for each sample the name of what it stays together with."""
    return _joined([_unit(dataset, index) for index in range(len(dataset))], _copies(dataset))


def _unit(dataset: Divisible, index: int) -> str:
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


def _require_spread(dataset: Divisible, strata: list[int | None], tallies: np.ndarray, needed: int) -> None:
    for label, count in zip(strata, np.count_nonzero(tallies, axis=0), strict=True):
        if count < needed:
            raise DataError(
                f"{_name(dataset, label)} is in {count} {units_of(dataset)}, too few for {needed} parts (none is "
                "cut in two); add tomograms, remove the class, or split within them: --set split.by=position"
            )


def _require_everywhere(
    dataset: Divisible, strata: list[int | None], have: np.ndarray, shares: np.ndarray, names: Sequence[str]
) -> None:
    empty = np.argwhere((have == 0) & (shares[:, None] > 0))
    if len(empty):
        part, column = empty[0]
        raise DataError(
            f"no split by whole {units_of(dataset)} was found that puts {_name(dataset, strata[column])} into "
            f"{names[part]}; add tomograms, try another seed or other fractions, or split within tomograms: "
            "--set split.by=position, or particle"
        )
