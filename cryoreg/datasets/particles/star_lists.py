"""Particle lists in RELION's words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from cryoreg.datasets.io import relion, relion_tables
from cryoreg.datasets.io.class_columns import note_on_two, note_on_zero
from cryoreg.datasets.io.columns import first_of, tomogram_names, varied
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.particles.carried import in_folders, of_star, tilts_of_star
from cryoreg.datasets.particles.motive_lists import is_motive_list, motive_list
from cryoreg.datasets.particles.particle_list import ParticleList
from cryoreg.datasets.tomograms.matching import bare

_LABELS = (relion.CLASS_NAME, relion.CLASS_NUMBER, "class", "label")


def read_star_list(path: str, unit_told: bool = False) -> ParticleList:
    """Read a STAR file of RELION 3, 3.1, 4 or 5, Warp, M or STOPGAP; `cryoreg.datasets.io.relion` knows their words."""
    table = relion_tables.read_particles(path)
    if is_motive_list(table):
        return motive_list(path, table)
    return relion_list(path, table, first_of(table, relion.TOMOGRAMS), unit_told)


def relion_list(path: str, table: pd.DataFrame, tomograms: str | None, unit_told: bool) -> ParticleList:
    """Return the particles of a table with RELION's columns; ``tomograms`` is the one that names their tomograms."""
    check_one_tomogram(path, table, tomograms, relion.TOMOGRAMS)
    coordinates, centred = relion.coordinates(path, table)
    label = varied(table, _LABELS)
    known = of_star(path, table)
    return ParticleList(
        path,
        coordinates,
        "centred" if centred else "voxel",
        _told_apart(path, tomogram_names(table, tomograms), known.files),
        table,
        label,
        None if unit_told else relion.coordinate_sizes(path, table, centred),
        relion.shifts(path, table),
        tilts_of_star(path, table),
        class_columns=_LABELS,
        carried=known,
        notes=[
            *note_on_two(path, table, label, relion.CLASS_NAME, relion.CLASS_NUMBER),
            *note_on_zero(path, table, label),
        ],
    )


def _told_apart(path: str, names: Sequence[str | None], files: Sequence[str | None] | None) -> Sequence[str | None]:
    """Return the names of tomograms, with their folders where the files that a list names for one are in several."""
    whole = in_folders(path, names, files)
    return whole if len(set(whole)) > len(set(names)) else names


def check_one_tomogram(path: str, table: pd.DataFrame, column: str | None, others: Iterable[str]) -> None:
    """Raise `DataError` where a row has a tomogram in ``column``, and another one of the list in one of ``others``."""
    if column is None:
        return
    names = _bare(table, column)
    known = {name for name in names if name}
    for other in others:
        if other not in table or other == column or len(known) < 2:
            continue
        for row, (name, told) in enumerate(zip(names, _bare(table, other), strict=True)):
            if told in known and told != name:
                refuse(path, f"has {name} for {column} in row {row}, and {told} for {other}; mend or remove one column")


def _bare(table: pd.DataFrame, column: str) -> list[str | None]:
    names = tomogram_names(table, column)
    short = {name: bare(name) for name in set(names) if name}
    return [name and short[name] for name in names]
