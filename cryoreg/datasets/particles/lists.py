"""Particle lists: coordinates, tomograms and classes from STAR, Dynamo, CSV and copick files.

Where voxel 0 lies, for each format, is stated in docs/particles.md: coordinates here count voxels from 0, and a whole
number is the middle of a voxel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.columns import first_of, numbers, positive, texts, varied
from cryoreg.datasets.io.text_tables import read_text_table
from cryoreg.datasets.io.volume_files import guarded, refuse
from cryoreg.datasets.particles.copick import read_json, read_ndjson
from cryoreg.datasets.particles.dynamo import read_table
from cryoreg.datasets.particles.particle_list import ParticleList, Unit


def read_particle_list(path: str | Path, unit_told: bool = False) -> ParticleList:
    """Read a STAR file, a Dynamo table (.tbl), CSV (.csv, .tsv, .txt) or copick points (.json, .ndjson).

    Where the unit of coordinates is told by the user (``unit_told``), what the list says of it is not read.
    Raises `DataError`, one line, where coordinates are missing or no numbers, or nothing is listed.
    """
    readers: dict[str, Callable[[str], ParticleList]] = {
        ".star": partial(read_star_list, unit_told=unit_told),
        ".tbl": read_table,
        **dict.fromkeys((".csv", ".tsv", ".txt"), partial(read_csv, unit_told=unit_told)),
        **dict.fromkeys((".ndjson", ".jsonl"), read_ndjson),
        ".json": read_json,
    }
    name = os.fspath(path)
    reader = readers.get(os.path.splitext(name)[1].lower())
    if reader is None:
        refuse(name, f"is not a particle list that can be read ({', '.join(readers)}); check the path")
    with guarded(name, "a particle list"):
        return reader(name)


def read_star_list(path: str, unit_told: bool = False) -> ParticleList:
    """Read a STAR file of RELION 3, 3.1, 4 or 5, Warp or M; `cryoreg.datasets.io.relion` knows their words."""
    table = relion.read_particles(path)
    coordinates, centred = relion.coordinates(path, table)
    return ParticleList(
        path,
        coordinates,
        "centred" if centred else "voxel",
        texts(table, first_of(table, relion.TOMOGRAMS)),
        table,
        varied(table, (relion.CLASS_NUMBER, "class", "label")),
        None if unit_told else relion.coordinate_sizes(path, table, centred),
        relion.shifts(path, table),
    )


_CSV_VOXELS = ("{}", "{}_voxel", "{}_vx", "{}_px", "coord_{}", "{}_coord", "pos_{}", "center_{}", "rlncoordinate{}")
_CSV_ANGSTROM = ("{}_angstrom", "{}_angst", "{}_a", "{}_å")
_CSV_TOMOGRAMS = (
    *("tomogram", "tomo", "tomogram_name", "tomo_name", "tomo_id", "run", "run_name", "micrograph", "file", "filename"),
    *("rlntomoname", "rlnmicrographname"),
)
_CSV_LABELS = ("class", "label", "class_name", "object", "rlnclassnumber")
_CSV_SIZES = ("voxel_size", "voxel_spacing", "pixel_size", "angpix")


def read_csv(path: str, unit_told: bool = False) -> ParticleList:
    """Read a table with a header: x, y, z (voxels), and as far as it has them tomogram, class, tilt_min, tilt_max.

    Names are tolerant (upper case, coord_x, x_angstrom, ...), ``voxel_size`` is in Å per unit; comma, semicolon,
    tab or spaces separate.
    """
    table = read_text_table(path)
    unit: Unit = "voxel"
    names = _axes(table, _CSV_VOXELS)
    if names is None:
        unit, names = "angstrom", _axes(table, _CSV_ANGSTROM)
    if names is None:
        listed = ", ".join(map(str, table.columns))
        refuse(path, f"has no columns x, y and z (its first line is: {listed}); add a header that names them")
    if table.empty:
        refuse(path, "lists no particles; check how it was written")
    size = first_of(table, _CSV_SIZES) if unit == "voxel" and not unit_told else None
    return ParticleList(
        path,
        np.stack([numbers(path, table, name) for name in names], axis=1),
        unit,
        texts(table, first_of(table, _CSV_TOMOGRAMS)),
        table,
        varied(table, _CSV_LABELS),
        None if size is None else positive(path, size, numbers(path, table, size)),
        None,
        _csv_tilts(path, table),
    )


def _axes(table: pd.DataFrame, patterns: Sequence[str]) -> list[str] | None:
    for pattern in patterns:
        names = [pattern.format(axis) for axis in "xyz"]
        if set(names) <= set(table.columns):
            return names
    return None


def _csv_tilts(path: str, table: pd.DataFrame) -> list[tuple[float, float] | None] | None:
    if not {"tilt_min", "tilt_max"} <= set(table.columns):
        return None
    low, high = numbers(path, table, "tilt_min"), numbers(path, table, "tilt_max")
    return list(zip(low.tolist(), high.tolist(), strict=True))
