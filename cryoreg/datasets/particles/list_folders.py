"""Folders of particle lists, one for each tomogram, as pickers write them: all of them as one list."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.datasets.io.columns import varied
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.particles.carried import SILENT
from cryoreg.datasets.particles.particle_list import ParticleList
from cryoreg.datasets.tomograms.matching import bare
from cryoreg.folders import entries_of

_MERGE = "merge them first (cryoreg select --merge), or give them folders of their own"


def joined(folder: str, lists: Sequence[ParticleList]) -> ParticleList:
    """Return the particles of some lists, in their order, as those of one; each is still a row of its own.

    A list that names no tomogram is of the one that it is called as. Raises `DataError` where two lists are of one
    tomogram, or do not tell the same things.
    """
    tomograms = [[name or Path(each.path).stem for name in each.tomograms] for each in lists]
    _check(folder, lists, tomograms)
    first, columns = lists[0], pd.concat([each.columns for each in lists], ignore_index=True)
    class_columns = [*dict.fromkeys(chain.from_iterable(each.class_columns for each in lists))]
    ranges = [each.tilt_ranges or [None] * len(each) for each in lists]
    return ParticleList(
        folder,
        np.concatenate([each.coordinates for each in lists]),
        first.unit,
        list(chain.from_iterable(tomograms)),
        columns,
        varied(columns, class_columns),
        _all(folder, lists, "a voxel size", lambda each: each.unit_sizes),
        _all(folder, lists, "shifts", lambda each: each.shifts),
        list(chain.from_iterable(ranges)) if any(each.tilt_ranges for each in lists) else None,
        first.frame,
        first.from_corner,
        _all(folder, lists, "the size of their volume", lambda each: each.image_sizes),
        parts=lists,
        notes=[*dict.fromkeys(chain.from_iterable(each.notes for each in lists)), *_on_empty(folder, lists)],
    )


def _on_empty(folder: str, lists: Sequence[ParticleList]) -> list[str]:
    """Return a note on lists that were left out."""
    there = {each.path for each in lists}
    empty = [file.name for file in entries_of(Path(folder)) if os.fspath(file) not in there]
    return [f"{folder}: {len(empty)} of its files list no particles (the first: {empty[0]})"] if empty else []


def _check(folder: str, lists: Sequence[ParticleList], tomograms: Sequence[Sequence[str]]) -> None:
    """Raise `DataError` where lists are of one tomogram, mean their places in two ways, or tell different things."""
    owners, files = dict[str, str](), dict[str, str]()
    for each, names in zip(lists, tomograms, strict=True):
        here = os.path.basename(each.path)
        if files.setdefault(os.path.realpath(each.path), here) != here:
            refuse(folder, f"holds {here}, which is {files[os.path.realpath(each.path)]}, too, as a link; remove it")
        if each.numbers is not None or each.carried != SILENT:
            refuse(folder, f"holds {here}, which tells more of its tomograms than their names; give it itself")
        for name in dict.fromkeys(map(bare, names)):
            if owners.setdefault(name, here) != here:
                refuse(folder, f"holds {owners[name]} and {here}, both of the tomogram '{name}'; {_MERGE}")
    _check_columns(folder, lists)
    ways = dict[object, str]()
    for each in lists:
        ways.setdefault((each.unit, each.frame, each.from_corner, each.are_fractions), each.path)
    if len(ways) > 1:
        one, other, *_ = map(os.path.basename, ways.values())
        refuse(folder, f"holds {one} and {other}, whose coordinates are of two units or frames; {_MERGE}")


def _check_columns(folder: str, lists: Sequence[ParticleList]) -> None:
    """Raise `DataError` where some lists have a column of RELION's that others have not, or hold classes elsewhere.

    A list without classes is one of particles without labels.
    """
    names = [os.path.basename(each.path) for each in lists]
    classes = [{*each.columns} & {*each.class_columns} for each in lists]
    others = [
        {name for name in map(str, each.columns) if name.startswith("rln")} - own
        for each, own in zip(lists, classes, strict=True)
    ]
    with_classes = [(name, own) for name, own in zip(names, classes, strict=True) if own]
    for (first, known), *rest in filter(None, (with_classes, [*zip(names, others, strict=True)])):
        for name, columns in rest:
            if columns != known:
                column = min(columns ^ known)
                one, other = (name, first) if column in columns else (first, name)
                refuse(folder, f"holds {one} with the column {column}, and {other} without; give both the same columns")


def _all(
    folder: str, lists: Sequence[ParticleList], what: str, told: Callable[[ParticleList], NDArray[np.float64] | None]
) -> NDArray[np.float64] | None:
    """Return what all lists tell of their particles; raise `DataError` where some do and others do not."""
    found = {os.path.basename(each.path): told(each) for each in lists}
    known = {name: value for name, value in found.items() if value is not None}
    if known and len(known) < len(found):
        silent = next(name for name in found if name not in known)
        refuse(folder, f"holds {next(iter(known))}, which tells {what}, and {silent}, which does not; mend one")
    return np.concatenate(list(known.values())) if known else None
