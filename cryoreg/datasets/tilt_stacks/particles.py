"""Particles of 2D tilt stacks: where they lie in their tomograms, and at which tilts they are seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.columns import numbers, triples
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.io.voxel_sizes import same_size
from cryoreg.datasets.tilt_stacks.series import TiltSeries, vector

_BEYOND = 0.05
"""How far beyond its tomogram, in parts of its size, a particle may lie."""
_SAME_PLACE = 2.0
"""By how many voxels two statements of one place may differ: programs round, and count from 0 or 1."""
_SAY_UNIT = "say the unit: --set dataset.coordinate_size=<Å>"


class Particles(NamedTuple):
    """N particles."""

    positions: NDArray[np.float64]
    """(N, 3): x, y, z in Å from the tomogram's centre, where the images were cut."""
    shifts: NDArray[np.float64]
    """(N, 3): where the particle lies from there, Å."""
    premultiplied: NDArray[np.bool_]
    """(N,): whether images were multiplied by their transfer."""
    seen: Sequence[NDArray[np.bool_]]
    """For each the tilts, of all of its series, at which it is seen."""
    notes: Sequence[str]


def read_particles(
    path: str,
    table: pd.DataFrame,
    series: Mapping[str, TiltSeries],
    pixel_size: float,
    coordinate_size: float | None = None,
) -> Particles:
    """Return what a table says of its particles; ``coordinate_size`` is Å per unit of the coordinates, where told.

    Raises `DataError`, with the row, where a particle lies outside of its tomogram, or its tilts are not its series'.
    """
    names = [str(name) for name in table[relion.TOMOGRAM]]
    positions, notes = _positions(path, table, names, series, pixel_size, coordinate_size)
    shifts = relion.shifts(path, table)
    if relion.PREMULTIPLIED in table:
        premultiplied = numbers(path, table, relion.PREMULTIPLIED) > 0
    else:
        premultiplied = np.zeros(len(table), dtype=bool)
        notes.append(f"{path}: has no {relion.PREMULTIPLIED}; images are taken as not multiplied by their CTF")
    seen = _seen(path, table, names, series)
    return Particles(positions, np.zeros_like(positions) if shifts is None else shifts, premultiplied, seen, notes)


def _positions(
    path: str,
    table: pd.DataFrame,
    names: Sequence[str],
    series: Mapping[str, TiltSeries],
    pixel_size: float,
    told: float | None,
) -> tuple[NDArray[np.float64], list[str]]:
    """Return x, y, z in Å from the centres, and what was assumed of their unit."""
    if all(triples(path, table, columns) is None for columns in (relion.CENTRED, relion.COORDINATES)):
        refuse(path, f"has no coordinates ({relion.CENTRED[0]} or {relion.COORDINATES[0]}), on which the CTF depends")
    places, centred = relion.coordinates(path, table)
    if centred:
        if told is not None:
            refuse(path, f"counts in Å ({relion.CENTRED[0]}), of which no unit can be said; leave out coordinate_size")
        _check_centred(path, table, places, names, series, pixel_size)
        return places, []
    frames = {name: _frame(path, name, each, told or _unit(each, pixel_size)) for name, each in series.items()}
    units = np.array([frames[name][0] for name in names])
    centres = np.array([frames[name][1] for name in names])
    found = places * units[:, None] - centres
    _check_inside(path, found / (2 * centres), names, relion.COORDINATES, _SAY_UNIT)
    unsaid = told is None and any(not same_size(unit, series[name].unit_size) for name, (unit, _) in frames.items())
    return found, [_of_warp(path, pixel_size)] if unsaid else []


def _unit(series: TiltSeries, pixel_size: float) -> float | None:
    """Return Å per unit of coordinates: RELION 4 counts voxels before binning, WarpTools pixels of the images.

    WarpTools is known by its projections, which turn about the origin and shift nothing.
    """
    return pixel_size if series.centred else series.unit_size


def _of_warp(path: str, pixel_size: float) -> str:
    return (
        f"{path}: coordinates are taken as pixels of the images, {pixel_size:.4g} Å, as WarpTools writes them beside "
        f"projections without shifts ({relion.PROJECTION[0]}); else say dataset.coordinate_size"
    )


def _frame(path: str, name: str, series: TiltSeries, unit: float | None) -> tuple[float, NDArray[np.float64]]:
    """Return Å per unit of a tomogram's coordinates, and its centre, Å from the corner from which they count."""
    if series.centre is None or unit is None:
        lacking = f"its tomograms file lacks one of {', '.join((relion.TILT_SIZE, *relion.TOMOGRAM_SIZE))}"
        refuse(path, f"counts {relion.COORDINATES[0]} from a corner of '{name}'; {lacking}")
    return unit, series.centre


def _check_inside(
    path: str, parts: NDArray[np.float64], names: Sequence[str], columns: Sequence[str], advice: str
) -> None:
    outside = np.flatnonzero((np.abs(parts) > 0.5 + _BEYOND).any(axis=1))
    if len(outside):
        row = outside[0]
        axis = int(np.abs(parts[row]).argmax())
        refuse(
            path,
            f"has {columns[axis]} in row {row} that lies outside of '{names[row]}' by its size "
            f"({relion.TOMOGRAM_SIZE[axis]}); {advice}",
        )


def _check_centred(
    path: str,
    table: pd.DataFrame,
    places: NDArray[np.float64],
    names: Sequence[str],
    series: Mapping[str, TiltSeries],
    pixel_size: float,
) -> None:
    """Raise `DataError` where Å from the centre lie outside, or voxels from the corner tell of other places."""
    if any(each.centre is None for each in series.values()):
        return
    centres = np.array([series[name].centre for name in names])
    _check_inside(path, places / (2 * centres), names, relion.CENTRED, "they count in Å from its centre; mend them")
    corner = triples(path, table, relion.COORDINATES)
    if corner is None:
        return
    units = np.array([[series[name].unit_size or pixel_size] for name in names])
    either = (units, np.full_like(units, pixel_size))
    apart = [(np.abs(corner * unit - centres - places) / unit).max(axis=1) for unit in either]
    bad = np.flatnonzero(np.min(apart, axis=0) > _SAME_PLACE)
    if len(bad):
        refuse(
            path,
            f"says other places by {relion.CENTRED[0]} than by {relion.COORDINATES[0]}, the first in row {bad[0]}; "
            "take out those that are old",
        )


def _seen(
    path: str, table: pd.DataFrame, names: Sequence[str], series: Mapping[str, TiltSeries]
) -> list[NDArray[np.bool_]]:
    cells = table[relion.VISIBLE] if relion.VISIBLE in table else [None] * len(table)
    known: dict[tuple[object, str], NDArray[np.bool_]] = {}
    for row, key in enumerate(zip(cells, names, strict=True)):
        if key not in known:
            known[key] = _seen_in(path, row, *key, series[key[1]])
    return [known[key] for key in zip(cells, names, strict=True)]


def _seen_in(path: str, row: int, cell: object, name: str, series: TiltSeries) -> NDArray[np.bool_]:
    """Return the tilts of a series at which ``cell`` says that a particle is seen: at all, where there is no cell."""
    seen = np.ones(len(series), dtype=bool) if cell is None else np.array(vector(path, relion.VISIBLE, row, cell)) > 0
    if len(seen) != len(series):
        told = f"{len(seen)} tilts for {relion.VISIBLE} in row {row}"
        refuse(path, f"has {told}, and '{name}' has {len(series)}; give the tomograms STAR file of its job")
    if not seen.any():
        refuse(path, f"sees row {row} at no tilt ({relion.VISIBLE}); remove the row")
    if not series.scale[seen].any():
        refuse(path, f"sees row {row} at tilts of '{name}' alone that have {relion.CTF_SCALE} 0; remove the row")
    return seen
