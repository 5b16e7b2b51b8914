"""Particle lists as text tables with a header (CSV and its kin), whose words every program chooses for itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.columns import first_of, numbers, positive, texts, tomogram_names, varied
from cryoreg.datasets.io.text_tables import read_text_table
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.particles.carried import of_text
from cryoreg.datasets.particles.particle_list import ParticleList, Unit
from cryoreg.datasets.particles.star_lists import relion_list

_VOXELS = ("{}", "{}_voxel", "{}_vx", "{}_px", "coord_{}", "{}_coord", "pos_{}", "center_{}")
_ANGSTROM = ("{}_angstrom", "{}_angst", "{}_ang", "{}_a", "{}_å")
_NANOMETRE = ("{}_nm", "{}_nanometer", "{}_nanometre")
_SHIFTS = ("shift_{}", "{}_shift")
"""Added to the coordinates, in their unit, as cryoCAT's and STOPGAP's lists mean them."""
_SAME_PLACE = 2.0
"""Voxels by which a place may differ that is told in two units: from a corner or a middle, from 0 or 1, rounded."""
_TOMOGRAMS = ("tomogram", "tomo", "tomogram_name", "tomo_name", "tomo_id", "run", "run_name", "micrograph", "file")
_TOMOGRAM = re.compile(
    r"(tomo(gram)?|tilt_?series|ts|run|micrograph|mic|mrc|rec|reconstruction|file|path)"
    r"(_?(name|id|idx|number|num|no|nr|file|filename|path))?|(volume|vol|image|map|stack)_?(name|id|file|filename|path)"
)
"""What else names the tomogram."""
_LABELS = ("class", "label", "class_name", "object", relion.CLASS_NUMBER.lower())
_SIZES = ("voxel_size", "voxel_spacing", "pixel_size", "angpix")
_UNITS = ("unit", "units", "coordinate_unit", "coordinate_units", "coord_unit")
UNIT_NAMES: Mapping[str, float] = {
    **dict.fromkeys(("voxel", "voxels", "vx", "px", "pixel", "pixels"), 0.0),
    **dict.fromkeys(("å", "a", "ang", "angst", "angstrom", "angstroms", "ångström", "ångstrom"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 10.0),
    **dict.fromkeys(("um", "µm", "μm", "micrometer", "micrometre", "micron", "microns"), 1e4),
}
"""Å of each; 0 for voxels."""


def read_csv(path: str, unit_told: bool = False) -> ParticleList:
    """Read a table with a header: x, y, z (voxels), and as far as it has them tomogram, class, tilt_min, tilt_max.

    Names are tolerant (upper case, coord_x, x_angstrom, x_nm, ...); ``voxel_size`` is in Å per unit, ``unit`` a name;
    shift_x, shift_y, shift_z are added. Comma, semicolon, tab or spaces separate. RELION's words mean what they do in
    STAR files.
    """
    table = read_text_table(path)
    if table.empty:
        refuse(path, "lists no particles; check how it was written")
    words = {column: relion.WORDS[column] for column in table if column in relion.WORDS}
    if relion.lists_places(words.values()):
        table = table.rename(columns=words)
        return relion_list(path, table, tomogram_column(table), unit_told)
    places, size = _places(path, table, unit_told)
    return ParticleList(
        path,
        places,
        "angstrom" if size == 1 else _VOXEL,
        tomogram_names(table, tomogram_column(table)),
        table,
        varied(table, _LABELS),
        None if unit_told else _unit_sizes(path, table, size),
        None,
        _tilts(path, table),
        carried=of_text(table),
    )


_VOXEL: Unit = "voxel"


def _places(path: str, table: pd.DataFrame, unit_told: bool) -> tuple[NDArray[np.float64], float]:
    """Return the coordinates (N, 3) with their shifts, and the Å of their unit, 0 for voxels."""
    told = None if unit_told else _told_unit(path, table)
    for patterns, size in ((_VOXELS, 0.0), (_ANGSTROM, 1.0), (_NANOMETRE, 10.0)):
        found = _axes(path, table, patterns)
        if found is not None and size and told not in (None, size):
            refuse(path, "names one unit in its header and another in its column of units; mend one")
        if found is not None and not size and not unit_told:
            _check_other_units(path, table, found)
        if found is not None:
            shifts = _axes(path, table, _SHIFTS)
            return found if shifts is None else found + shifts, size or told or 0.0
    listed = ", ".join(map(str, table.columns))
    refuse(path, f"has no columns x, y and z (its first line is: {listed}); add a header that names them")


def _check_other_units(path: str, table: pd.DataFrame, voxels: NDArray[np.float64]) -> None:
    """Raise `DataError` where a table has Å or nm beside voxels that are not those by any one size."""
    for pattern in (*_ANGSTROM[:3], *_NANOMETRE):  # x_a may be anything
        other = _axes(path, table, [pattern])
        if other is None or not voxels.any():
            continue
        size = (voxels * other).sum() / (voxels**2).sum()
        if size <= 0 or np.abs(other / size - voxels).max() > _SAME_PLACE:
            refuse(path, f"has both x and {pattern.format('x')}, which tell of other places; remove one")


def _axes(path: str, table: pd.DataFrame, patterns: Sequence[str]) -> NDArray[np.float64] | None:
    """Return three columns of numbers by the first pattern that fits; raise `DataError` where another has others."""
    named = [[pattern.format(axis) for axis in "xyz"] for pattern in patterns]
    there = [names for names in named if set(names) <= set(table.columns)]
    found = [np.stack([numbers(path, table, name) for name in names], axis=1) for names in there]
    for names, other in zip(there[1:], found[1:], strict=True):
        if not np.array_equal(found[0], other):
            refuse(path, f"has both {there[0][0]} and {names[0]}, which differ; rename those that are no places")
    return found[0] if found else None


def _told_unit(path: str, table: pd.DataFrame) -> float | None:
    """Return the Å of the unit that a column names, None where none does."""
    column = first_of(table, _UNITS)
    names = {(name or "").lower() for name in texts(table, column)}
    if column is None or names == {""}:
        return None
    sizes = {UNIT_NAMES.get(name) for name in names}
    if len(sizes) > 1 or None in sizes:
        refuse(path, f"has {', '.join(sorted(names)) or 'no unit'} for {column}; write one of voxel, angstrom and nm")
    return sizes.pop()


def _unit_sizes(path: str, table: pd.DataFrame, size: float) -> NDArray[np.float64] | None:
    """Return the Å of each particle's unit, None for Å themselves and for voxels of which nothing tells the size."""
    column = first_of(table, _SIZES)
    if size:
        return None if size == 1 else np.full(len(table), size)
    return None if column is None else positive(path, column, numbers(path, table, column))


def tomogram_column(table: pd.DataFrame) -> str | None:
    """Return the column that names tomograms, None where there is none."""
    known = first_of(table, (*relion.TOMOGRAMS, *_TOMOGRAMS))
    return known or next((column for column in map(str, table) if _TOMOGRAM.fullmatch(column)), None)


def _tilts(path: str, table: pd.DataFrame) -> list[tuple[float, float] | None] | None:
    if not {"tilt_min", "tilt_max"} <= set(table.columns):
        return None
    low, high = numbers(path, table, "tilt_min"), numbers(path, table, "tilt_max")
    return list(zip(low.tolist(), high.tolist(), strict=True))
