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
        return places, []
    frames = {name: _frame(path, name, each, told or _unit(each, pixel_size)) for name, each in series.items()}
    units = np.array([frames[name][0] for name in names])
    centres = np.array([frames[name][1] for name in names])
    found = places * units[:, None] - centres
    _check_inside(path, found / (2 * centres), names)
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


def _check_inside(path: str, parts: NDArray[np.float64], names: Sequence[str]) -> None:
    outside = np.flatnonzero((np.abs(parts) > 0.5 + _BEYOND).any(axis=1))
    if len(outside):
        row = outside[0]
        axis = "XYZ"[int(np.abs(parts[row]).argmax())]
        refuse(
            path,
            f"has rlnCoordinate{axis} in row {row} that lies outside of '{names[row]}' by its size "
            f"(rlnTomoSize{axis}); say the unit: --set dataset.coordinate_size=<Å>",
        )


def _seen(
    path: str, table: pd.DataFrame, names: Sequence[str], series: Mapping[str, TiltSeries]
) -> list[NDArray[np.bool_]]:
    if relion.VISIBLE not in table:
        return [np.ones(len(series[name]), dtype=bool) for name in names]
    known: dict[str, NDArray[np.bool_]] = {}
    found = []
    for row, (cell, name) in enumerate(zip(table[relion.VISIBLE], names, strict=True)):
        if cell not in known:
            known[cell] = np.array(vector(path, relion.VISIBLE, row, cell)) > 0
        seen = known[cell]
        if len(seen) != len(series[name]):
            told = f"{len(seen)} tilts for {relion.VISIBLE} in row {row}"
            refuse(path, f"has {told}, and '{name}' has {len(series[name])}; give the tomograms STAR file of its job")
        if not seen.any():
            refuse(path, f"sees row {row} at no tilt ({relion.VISIBLE}); remove the row")
        found.append(seen)
    return found
