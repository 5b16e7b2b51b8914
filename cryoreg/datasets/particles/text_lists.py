"""Particle lists as text tables with a header (CSV and its kin), whose words every program chooses for itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.class_columns import note_on_two, note_on_zero
from cryoreg.datasets.io.columns import (
    first_of,
    numbers,
    positive,
    texts,
    tomogram_names,
    triples,
    varied,
)
from cryoreg.datasets.io.text_tables import read_text_table
from cryoreg.datasets.io.volume_files import refuse, refuse_empty
from cryoreg.datasets.particles.carried import of_text, tilts_of
from cryoreg.datasets.particles.particle_list import ParticleList, Unit
from cryoreg.datasets.particles.star_lists import check_one_tomogram, relion_list

_VOXELS = ("{}", "{}_voxel", "{}_vx", "{}_px", "coord_{}", "{}_coord", "pos_{}", "center_{}")
_ANGSTROM = ("{}_angstrom", "{}_angst", "{}_ang", "{}_a", "{}_å")
_NANOMETRE = ("{}_nm", "{}_nanometer", "{}_nanometre")
_SHIFTS = ("shift_{}", "{}_shift")
"""Added to the coordinates, in their unit, as cryoCAT's and STOPGAP's lists mean them."""
_SHIFTS_IN_ANGSTROM = tuple(pattern.format(name) for name in _SHIFTS for pattern in _ANGSTROM)
_ARRAYS = ("axis-{}", "centroid-{}")
"""Axes of an array: points of napari, regions of scikit-image."""
_PERHAPS_SHIFTS = (
    *("d{}", "t{}", "offset_{}", "{}_offset", "origin_{}", "{}_origin", "translation_{}", "trans_{}", "delta_{}"),
    *("shift{}", "{}shift", "offset{}", "{}offset", "origin{}", "{}origin", "translation{}", "trans{}"),
)
_PERHAPS_PLACES = ("refined_{}", "{}_refined", "new_{}", "{}_new", "aligned_{}", "{}_aligned")
_EDGES = (["width", "height", "depth"], ["w", "h", "d"], ["size_x", "size_y", "size_z"])
"""Of a box, of which x, y and z may be a corner."""
_SAME_PLACE = 2.0
"""Voxels by which a place may differ that is told in two units: from a corner or a middle, from 0 or 1, rounded."""
_TOMOGRAMS = ("tomogram", "tomo", "tomogram_name", "tomo_name", "tomo_id", "run", "run_name", "micrograph", "file")
_TOMOGRAM = re.compile(
    r"(rln|ptm)?(tomo(gram)?|tilt_?series|ts|run|experiment|micrograph|mic|mrc|rec|reconstruction|file|path)"
    r"(_?(name|id|idx|index|number|num|no|nr|#|file|filename|path))?|(volume|vol|image|map|stack)_?(name|id|file|filename|path)"
)
"""What else names the tomogram."""
_NAME, _NUMBER = "class_name", "class"
_LABELS = (_NAME, "predicted_class_name", _NUMBER, "label", "object", "particle_type", relion.CLASS_NUMBER.lower())
_SIZES = ("voxel_size", "voxel_spacing", "pixel_size", "angpix")
_SIZE = re.compile(
    r"(?:voxel|pixel)_?(?:size|spacing)(?:_(?:angstroms?|angst?|a|å|nm)(?:/(?:voxel|vx|pixel|px))?)?|angpix|apix"
)
_NM = re.compile(r"_nm(?:/\w+)?$")
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
        refuse_empty(path)
    words = {column: relion.WORDS[column] for column in table if column in relion.WORDS}
    if relion.lists_places(words.values()):
        table = table.rename(columns=words)
        return relion_list(path, table, tomogram_column(table), unit_told)
    _check_words(path, table, words, unit_told)
    check_one_tomogram(path, table, tomogram_column(table), _tomogram_columns(table))
    places, size = _places(path, table, unit_told)
    shifts = _triple(path, table, _SHIFTS_IN_ANGSTROM)
    if shifts is not None and shifts.any() and any({*_named(each)} <= {*table} for each in _SHIFTS):
        refuse(path, "has shifts in Å and others in the unit of its coordinates; remove one")
    unit: Unit = "angstrom" if size else "voxel"
    label = varied(table, _LABELS)
    return ParticleList(
        path,
        places if unit_told or not size else places * size,
        unit,
        tomogram_names(table, tomogram_column(table)),
        table,
        label,
        None if unit_told or size else _unit_sizes(path, table),
        shifts,
        tilts_of(path, table, ("tilt_min", "tilt_max")),
        class_columns=_LABELS,
        carried=of_text(table),
        notes=[
            *_not_read(path, table),
            *note_on_two(path, table, label, _NAME, _NUMBER),
            *note_on_zero(path, table, label),
        ],
    )


def _check_words(path: str, table: pd.DataFrame, words: Mapping[str, str], unit_told: bool) -> None:
    """Raise `DataError` where words of RELION say where x, y and z are, which are none of its words."""
    relion.check_origins(path, table.drop(columns=[*words]))
    sizes = () if unit_told else relion.COORDINATE_SIZES
    for column, word in words.items():
        if word in sizes or (word in relion.ORIGINS and numbers(path, table, column).any()):
            refuse(
                path,
                f"has {word}, which is of rlnCoordinateX, ..., and coordinates by other names; name them so, or rename "
                f"{word}",
            )


def _triple(path: str, table: pd.DataFrame, patterns: Sequence[str]) -> NDArray[np.float64] | None:
    """Return shifts (N, 3) by the first pattern that fits; raise `DataError` where there is only a part of three."""
    for pattern in patterns:
        if any(_any_number(table, [name]) for name in _named(pattern)):
            triples(path, table, _named(pattern))
    return _axes(path, table, patterns)


def _not_read(path: str, table: pd.DataFrame) -> list[str]:
    """Return a line on each three columns that may move particles, and do not."""
    shifts = "are not added to the coordinates; if they are to be, name them shift_x, shift_y, shift_z"
    edges = "are of boxes of which coordinates are taken as the middle; if they are a corner, add half of these"
    places = "are not read, but x, y, z; if they are where particles were moved to, name them so"
    told = [(names, shifts) for names in map(_named, _PERHAPS_SHIFTS)]
    told += [(names, places) for names in map(_named, _PERHAPS_PLACES)] + [(names, edges) for names in _EDGES]
    return [f"{path}: its {', '.join(names)} {what}" for names, what in told if _any_number(table, names)]


def _any_number(table: pd.DataFrame, names: Sequence[str]) -> bool:
    """Tell whether all of some columns are there, and one of them has a number other than 0."""
    if not set(names) <= set(table):
        return False
    return any(bool(pd.to_numeric(table[name], errors="coerce").fillna(0).any()) for name in names)


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
            shifts = _triple(path, table, _SHIFTS)
            return found if shifts is None else found + shifts, size or told or 0.0
    _refuse_classes(path, table)
    for pattern in _ARRAYS:
        if {pattern.format(axis) for axis in range(3)} <= {*table}:
            z, y, x = (pattern.format(axis) for axis in range(3))
            refuse(path, f"has no columns x, y and z, but {z}, {y}, {x}, which are z, y and x in napari; rename them")
    listed = ", ".join(map(str, table.columns))
    refuse(path, f"has no columns x, y and z (its first line is: {listed}); add a header that names them")


def _refuse_classes(path: str, table: pd.DataFrame) -> None:
    """Raise `DataError` where a table says of which class particles are, as cryoreg writes it, and not where."""
    if "id" not in table or not {"class", "cluster", "prediction"} & {*table}:
        return
    files = {name for name in texts(table, "file") if name} if "file" in table else set()
    whose, what = (f"of {files.pop()}", "that") if len(files) == 1 else ("and not of which data", "these")
    refuse(path, f"says classes {whose}, but no places; give {what}, and this table where classes are asked for")


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
    named = list(map(_named, patterns))
    there = [names for names in named if set(names) <= set(table.columns)]
    found = [np.stack([numbers(path, table, name) for name in names], axis=1) for names in there]
    for names, other in zip(there[1:], found[1:], strict=True):
        if not np.array_equal(found[0], other):
            refuse(path, f"has both {there[0][0]} and {names[0]}, which differ; rename those that are no places")
    return found[0] if found else None


def _named(pattern: str) -> list[str]:
    return [pattern.format(axis) for axis in "xyz"]


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


def _unit_sizes(path: str, table: pd.DataFrame) -> NDArray[np.float64] | None:
    """Return the Å of the voxels of each particle's coordinates, None where nothing tells."""
    column = first_of(table, _SIZES) or next((name for name in map(str, table) if _SIZE.fullmatch(name)), None)
    if column is None:
        return None
    return positive(path, column, numbers(path, table, column)) * (10.0 if _NM.search(column) else 1.0)


def tomogram_column(table: pd.DataFrame) -> str | None:
    """Return the column that names tomograms, None where there is none."""
    return next(iter(_tomogram_columns(table)), None)


def _tomogram_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns that may name tomograms, the surest first."""
    sure = [name for name in (*relion.TOMOGRAMS, *_TOMOGRAMS) if name in table]
    return [*sure, *(name for name in map(str, table) if name not in sure and _TOMOGRAM.fullmatch(name))]
