"""How a run divides its data: by tomograms, blocks or particles; into parts, or into folds for cross-validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.config.settings import SplitSettings
from cryoreg.contracts import Subtomograms
from cryoreg.datasets.splits import Split, divided, split, spread, with_unlabelled
from cryoreg.datasets.subsets import Some, labelled_of
from cryoreg.errors import ConfigError, DataError

Way = Literal["tomogram", "position", "particle"]
FOLDS = 5
_BLOCKS = 4
"""Blocks for each part, at least: so many tell classes apart, and larger ones would be better apart."""
_NOTHING = np.array([], np.int64)


class Division(NamedTuple):
    """A data set in parts."""

    parts: Split
    by: Way
    """What is in one part as a whole."""
    tomograms: int
    """How many are known; 0 where none is."""

    @property
    def warning(self) -> str | None:
        """What makes figures of these parts look better than they are; None where nothing does that is known."""
        if self.by == "tomogram" or not self.tomograms:
            return None
        within = "blocks of the same tomogram" if self.by == "position" else "the same tomogram"
        known = f"{self.tomograms} tomogram{'s'[: self.tomograms > 1]}"
        return (
            f"split by {self.by} ({known}): test and train particles are of {within}, so that the accuracy is too good "
            "for another tomogram"
        )


def divide(dataset: Subtomograms, settings: SplitSettings) -> Division:
    """Divide a data set as a run's settings say; see `cryoreg.datasets.splits.split` for what all ways keep.

    With ``scheme`` cv, the test part is the ``fold``, and val is taken from the others where they have enough labels;
    without a ``fold``, all is train. Raises `DataError` where there are too few labels, tomograms or places.
    """
    if settings.scheme == "cv":
        return _fold(dataset, settings)
    if settings.fold is not None or settings.folds is not None:
        raise ConfigError("split.folds and split.fold are for cross-validation; say --split cv")
    _check_tomograms(dataset, settings)
    needed = sum(share > 0 for share in settings.fractions)
    ways = _ways(dataset, settings, needed)
    for way in ways:
        try:
            parts = split(_viewed(dataset, way, needed), settings.fractions, settings.seed)
        except DataError:
            if way == ways[-1]:
                raise
        else:
            return Division(parts, way, _tomograms(dataset))
    raise AssertionError("the last way returns or raises")


class Folds(NamedTuple):
    """Labelled subtomograms in folds."""

    members: list[np.ndarray]
    """Indices into the data set."""
    by: Way


def folds_of(dataset: Subtomograms, settings: SplitSettings) -> Folds:
    """Return the folds of a cross-validation: as many as ``settings`` say, or 5, or as few as labels allow.

    Whole tomograms are in one fold where every class is in two or more of them. Each fold has every class. Raises
    `DataError` where a class has a single label, or fewer than the folds that are asked for.
    """
    labelled = labelled_of(dataset)
    if not len(labelled):
        raise DataError("the data set has no labels to cross-validate with")
    _check_tomograms(dataset, settings)
    wanted = settings.folds or FOLDS
    for way in ("tomogram", "position", "particle") if settings.by == "auto" else (settings.by,):
        if way == "position" and settings.by == "auto" and dataset.positions is None:
            continue
        view = _viewed(dataset, way, wanted)
        some = Some.of(view, labelled.tolist())
        most = min(spread(some))
        if most < 2:
            continue
        if settings.folds and most < wanted:
            raise DataError(_too_many(some, wanted, most))
        for count in range(min(wanted, most), 1, -1):
            try:
                found = divided(some, [1 / count] * count, settings.seed, [f"fold {k + 1}" for k in range(count)])
            except DataError:
                if settings.folds:
                    raise
            else:
                return Folds([labelled[part] for part in found], way if any(some.groups) else "particle")
    raise DataError(_too_few(dataset, settings))


def scheme_that_fits(dataset: Subtomograms) -> Literal["parts", "cv"]:
    """Return how labels can be divided: into parts, or by cross-validation where they are too few for that."""
    try:
        divide(dataset, SplitSettings())
    except DataError:
        with suppress(DataError):
            folds_of(dataset, SplitSettings())
            return "cv"
    return "parts"


def _too_many(some: Some, wanted: int, most: int) -> str:
    unit = some.units if any(some.groups) else "labelled subtomograms"
    return f"split.folds is {wanted}, but a class is in no more than {most} {unit}; say --set split.folds={most}"


def _too_few(dataset: Subtomograms, settings: SplitSettings) -> str:
    counts = np.bincount([label for label in dataset.labels if label is not None])
    rarest = next((dataset.classes[k] for k in np.flatnonzero(counts == 1).tolist()), None)
    if rarest is not None:
        return f"class '{rarest}' has a single label, and cross-validation needs two; add some or remove the class"
    return (
        f"cross-validation by {settings.by} needs every class in two of them; leave split.by out, or say "
        "--set split.by=particle"
    )


def _fold(dataset: Subtomograms, settings: SplitSettings) -> Division:
    folds, known = folds_of(dataset, settings), _tomograms(dataset)
    if settings.fold is None:
        everything = Split(np.concatenate(folds.members), _NOTHING, _NOTHING)
        return Division(with_unlabelled(dataset, everything, settings.seed), folds.by, known)
    if settings.fold > len(folds.members):
        raise ConfigError(f"split.fold is {settings.fold}, but there are {len(folds.members)} folds")
    test = folds.members[settings.fold - 1]
    others = np.concatenate([part for k, part in enumerate(folds.members, 1) if k != settings.fold])
    train, val = _validated(dataset, others, folds.by, settings)
    view = _viewed(dataset, folds.by, settings.folds or FOLDS)
    return Division(with_unlabelled(view, Split(train, val, test), settings.seed), folds.by, known)


def _validated(
    dataset: Subtomograms, others: np.ndarray, by: Way, settings: SplitSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Return what is left for training and validation: by the same units where they allow it, else by particles.

    Without validation where a class has a single label there, or the shares of `fractions` ask for none.
    """
    share = settings.fractions[1] / sum(settings.fractions[:2])
    for way in dict.fromkeys((by, "particle")):
        some = Some.of(_viewed(dataset, way, 2), others.tolist())
        if share and min(spread(some)) > 1:
            try:
                train, val = divided(some, [1 - share, share], settings.seed, ["train", "val"])
            except DataError:
                continue
            return others[train], others[val]
    return others, _NOTHING


def _ways(dataset: Subtomograms, settings: SplitSettings, needed: int) -> Sequence[Way]:
    """Return the ways of dividing into parts, the one to try first before the others."""
    if settings.by != "auto":
        return (settings.by,)
    chosen = labelled_of(dataset).tolist() or range(len(dataset))
    whole = {(group, None if group else index) for index in chosen for group in [dataset.groups[index]]}
    if not _tomograms(dataset) or len(whole) >= needed:
        return ("tomogram",)
    return ("particle",) if dataset.positions is None else ("position", "particle")


def _check_tomograms(dataset: Subtomograms, settings: SplitSettings) -> None:
    """Raise `DataError` where parts are to be whole tomograms, and subtomograms name none."""
    unnamed = sum(group is None for group in dataset.groups) if settings.by == "tomogram" else 0
    if unnamed:
        raise DataError(
            f"split.by is tomogram, but {unnamed} of {len(dataset)} subtomograms name none; say --set split.by=particle"
        )


def _tomograms(dataset: Subtomograms) -> int:
    return len(set(dataset.groups) - {None})


def _viewed(dataset: Subtomograms, way: Way, parts: int) -> Some:
    """Return the data set with what is to stay together as its groups."""
    everything = Some.of(dataset, range(len(dataset)))
    if way == "tomogram":
        return everything
    if way == "particle":
        return everything.grouped([None] * len(dataset), "subtomograms")
    if dataset.positions is None:
        raise DataError("split.by is position, but the data set knows no positions; say --set split.by=particle")
    return everything.grouped(blocks(dataset, _BLOCKS * parts), "blocks of tomograms")


def blocks(dataset: Subtomograms, least: int) -> list[str]:
    """Return for each subtomogram the name of a block within its tomogram: at least so many in all, as far as can be.

    A tomogram is halved again and again, across the axis along which the particles of the half spread most, so that
    each half has as many. Which are in a block does not depend on the order of the data set.
    """
    members: dict[str | None, list[int]] = {}
    for index, group in enumerate(dataset.groups):
        members.setdefault(group, []).append(index)
    depth = math.ceil(math.log2(max(1, least / len(members))))
    names = [""] * len(dataset)
    for group, inside in members.items():
        for number, block in enumerate(_halved(dataset, np.array(inside), depth)):
            for index in block:
                names[index] = f"{group}\0block {number}"
    return names


def _halved(dataset: Subtomograms, inside: NDArray[np.int64], depth: int) -> list[NDArray[np.int64]]:
    assert dataset.positions is not None
    if not depth or len(inside) < 2:
        return [inside]
    places = np.asarray(dataset.positions)[inside]
    axis = int(np.ptp(places, axis=0).argmax())
    order = np.lexsort(([dataset.ids[index] for index in inside], places[:, axis]))
    middle = (len(inside) + 1) // 2
    halves = (inside[order[:middle]], inside[order[middle:]])
    return [block for half in halves for block in _halved(dataset, half, depth - 1)]
