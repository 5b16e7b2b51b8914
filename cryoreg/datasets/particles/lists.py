"""Particle lists: coordinates, tomograms and classes from STAR, Dynamo, CSV and copick files.

Where voxel 0 lies, for each format, is stated in docs/particles.md: coordinates here count voxels from 0, and a whole
number is the middle of a voxel.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.datasets.io.star_files import numbers, read_star, triples
from cryoreg.datasets.io.volume_files import guarded, one_line, refuse
from cryoreg.datasets.particles.copick import read_json, read_ndjson
from cryoreg.datasets.particles.dynamo import read_table
from cryoreg.datasets.particles.particle_list import ParticleList, Unit
from cryoreg.files import text_of_cell


def read_particle_list(path: str | Path) -> ParticleList:
    """Read a STAR file, a Dynamo table (.tbl), CSV (.csv, .tsv, .txt) or copick points (.json, .ndjson).

    Raises `DataError`, one line, where coordinates are missing or no numbers, or nothing is listed.
    """
    readers: dict[str, Callable[[str], ParticleList]] = {
        ".star": read_star_list,
        ".tbl": read_table,
        **dict.fromkeys((".csv", ".tsv", ".txt"), read_csv),
        **dict.fromkeys((".ndjson", ".jsonl"), read_ndjson),
        ".json": read_json,
    }
    name = os.fspath(path)
    reader = readers.get(os.path.splitext(name)[1].lower())
    if reader is None:
        refuse(name, f"is not a particle list that can be read ({', '.join(readers)}); check the path")
    with guarded(name, "a particle list"):
        return reader(name)


_CENTRED = [f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"]
_COORDINATES = [f"rlnCoordinate{axis}" for axis in "XYZ"]
_ORIGINS = [f"rlnOrigin{axis}Angst" for axis in "XYZ"]
_ORIGIN_VOXELS = [f"rlnOrigin{axis}" for axis in "XYZ"]
_SUBTOMOGRAM_ANGLES = ["rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi"]
_STAR_SIZES = ("rlnTomoTiltSeriesPixelSize", "rlnMicrographPixelSize", "rlnDetectorPixelSize", "rlnPixelSize")
_STAR_TOMOGRAMS = ("rlnTomoName", "rlnMicrographName")
_STAR_LABELS = ("rlnClassNumber", "class", "label")


def read_star_list(path: str) -> ParticleList:
    """Read a STAR file of RELION 3, 3.1, 4 or 5, Warp or M.

    The particle is at coordinate - origin, as everywhere in RELION; origins of RELION 4 and 5 are turned by the
    subtomogram's angles first.
    """
    table = read_star(path, [_CENTRED[0], _COORDINATES[0]], "particles")
    centred = triples(path, table, _CENTRED)
    coordinates = triples(path, table, _COORDINATES) if centred is None else centred
    assert coordinates is not None
    voxels = triples(path, table, _ORIGIN_VOXELS)
    if centred is None and voxels is not None:
        coordinates = coordinates - voxels
    return ParticleList(
        path,
        coordinates,
        "voxel" if centred is None else "centred",
        _texts(table, _first(table, _STAR_TOMOGRAMS)),
        table,
        _varied(table, _STAR_LABELS),
        _star_sizes(path, table, _STAR_SIZES[:1] if centred is not None else _STAR_SIZES),
        _star_shifts(path, table),
    )


def _star_sizes(path: str, table: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.float64] | None:
    column = _first(table, columns)
    if column is None:
        return None
    sizes = numbers(path, table, column)
    if column == "rlnDetectorPixelSize" and "rlnMagnification" in table:
        sizes = sizes * 1e4 / numbers(path, table, "rlnMagnification")  # µm on the detector
    return _positive(path, column, sizes)


def _star_shifts(path: str, table: pd.DataFrame) -> NDArray[np.float64] | None:
    origins = triples(path, table, _ORIGINS)
    if origins is None:
        return None
    angles = triples(path, table, _SUBTOMOGRAM_ANGLES)
    if angles is not None:
        from scipy.spatial.transform import Rotation

        origins = Rotation.from_euler("ZYZ", angles, degrees=True).inv().apply(origins)
    return -origins


_CSV_VOXELS = ("{}", "{}_voxel", "{}_vx", "{}_px", "coord_{}", "{}_coord", "pos_{}", "center_{}", "rlncoordinate{}")
_CSV_ANGSTROM = ("{}_angstrom", "{}_angst", "{}_a", "{}_å")
_CSV_TOMOGRAMS = (
    *("tomogram", "tomo", "tomogram_name", "tomo_name", "tomo_id", "run", "run_name", "micrograph", "file", "filename"),
    *("rlntomoname", "rlnmicrographname"),
)
_CSV_LABELS = ("class", "label", "class_name", "object", "rlnclassnumber")
_CSV_SIZES = ("voxel_size", "voxel_spacing", "pixel_size", "angpix")


def read_csv(path: str) -> ParticleList:
    """Read a table with a header: x, y, z (voxels), and as far as it has them tomogram, class, tilt_min, tilt_max.

    Names are tolerant (upper case, coord_x, x_angstrom, ...), ``voxel_size`` is in Å per unit; comma, semicolon,
    tab or spaces separate.
    """
    table = _read_text(path)
    unit: Unit = "voxel"
    names = _axes(table, _CSV_VOXELS)
    if names is None:
        unit, names = "angstrom", _axes(table, _CSV_ANGSTROM)
    if names is None:
        listed = ", ".join(map(str, table.columns))
        refuse(path, f"has no columns x, y and z (its first line is: {listed}); add a header that names them")
    if table.empty:
        refuse(path, "lists no particles; check how it was written")
    size = _first(table, _CSV_SIZES) if unit == "voxel" else None
    return ParticleList(
        path,
        np.stack([numbers(path, table, name) for name in names], axis=1),
        unit,
        _texts(table, _first(table, _CSV_TOMOGRAMS)),
        table,
        _varied(table, _CSV_LABELS),
        None if size is None else _positive(path, size, numbers(path, table, size)),
        None,
        _csv_tilts(path, table),
    )


def _read_text(path: str) -> pd.DataFrame:
    with one_line(path, "a text table"):
        with open(path, encoding="utf-8-sig") as stream:
            text = stream.read()
        header = text.partition("\n")[0]
        if not header.strip():
            refuse(path, "is empty or begins with an empty line; add a header that names the columns x, y and z")
        counts = {mark: header.count(mark) for mark in ",;\t"}
        mark = max(counts, key=lambda each: counts[each])
        delimiter = re.escape(mark) if counts[mark] else r"\s+"
        comment = r"^[^\S\n]*#.*" if counts[mark] else r"(?<!\S)#.*"  # elsewhere # may be part of a name
        rows = io.StringIO(re.sub(comment, "", text, flags=re.MULTILINE))
        table = pd.read_csv(rows, sep=delimiter, dtype=str, skipinitialspace=True, engine="python")
    return table.map(text_of_cell, na_action="ignore").rename(
        columns={name: re.sub(r"[\s\[\(\]\)]+", "_", str(name).strip().lower()).strip("_") for name in table}
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


def _positive(path: str, column: str, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    bad = np.flatnonzero(~(sizes > 0))
    if len(bad):
        refuse(path, f"has a voxel size of {sizes[bad[0]]:g} Å ({column}) in row {bad[0]}; mend it")
    return sizes


def _first(table: pd.DataFrame, columns: Sequence[str]) -> str | None:
    return next((column for column in columns if column in table), None)


def _varied(table: pd.DataFrame, columns: Sequence[str]) -> str | None:
    """Return the first of some columns that has more than one value."""
    return next((column for column in columns if column in table and table[column].nunique() > 1), None)


def _texts(table: pd.DataFrame, column: str | None) -> list[str | None]:
    if column is None:
        return [None] * len(table)
    return [None if pd.isna(value) else str(value).strip() or None for value in table[column]]
