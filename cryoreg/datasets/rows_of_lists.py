"""Ids that are a tomogram and a row of a list: in another list they mean other particles."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from cryoreg.contracts import Subtomograms
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.origins import known_origins
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.errors import DataError

LABELS = "write the labels into that list (cryoreg label LIST --export FILE), and cryoreg select from FILE"
CHOICE = "choose from that list"
"""What to do instead with labels, and with ids that choose."""


def goes_by_rows(dataset: Subtomograms) -> bool:
    """Tell whether ids are the tomogram and the row of a list."""
    origins = known_origins(dataset)
    return origins is not None and all(
        name == f"{group}/{origin.row}"
        for name, group, origin in zip(dataset.ids, dataset.groups, origins, strict=True)
    )


def list_of(dataset: Subtomograms) -> str:
    """Return the list of a data set that goes by its rows."""
    return next(origin.file for origin in known_origins(dataset) or ())


def check_rows(dataset: Subtomograms, path: Path, unknown: Sequence[str], files: Collection[str]) -> None:
    """Raise `DataError` where labels (``path``) of a data set that goes by rows are those of another list.

    They are where they name a row that the list has not (``unknown`` ids of tomograms that it has), or ``files``, by
    whose rows they go, list other places.
    """
    check_rows_of(list_of(dataset), {*dataset.groups}, path, unknown, files, LABELS)


def check_rows_of(
    own: str,
    tomograms: Collection[str | None],
    path: str | Path,
    unknown: Iterable[str],
    files: Collection[str],
    advice: str,
) -> None:
    """Do the same for the list ``own`` of some ``tomograms``; ``advice`` says what to do instead."""
    stray = next((name for name in unknown if "/" in name and name.rpartition("/")[0] in tomograms), None)
    if stray is not None:
        refuse(path, f"names '{stray}', which is no row of {own}, so that its ids are of another list: {advice}")
    for file in sorted(files):
        if os.path.isfile(file) and os.path.isfile(own) and not _same_rows(file, own):
            refuse(path, f"goes by the rows of {file}, and the data by those of {own}, which differ: {advice}")


def _same_rows(one: str, other: str) -> bool:
    """Tell whether two lists are one but for what they say of their particles; what is no list is not judged."""
    if os.path.samefile(one, other):
        return True
    try:
        first, second = read_particle_list(one), read_particle_list(other)
    except DataError:
        return True
    return np.array_equal(first.coordinates, second.coordinates) and list(first.tomograms) == list(second.tomograms)
