"""Dynamo's particle tables (.tbl).

Columns are those of Dynamo's "table convention", places those of its page "Volume center"
(https://wiki.dynamo.biozentrum.unibas.ch/w/index.php/Volume_center).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.datasets.io.class_columns import note_on_zero
from cryoreg.datasets.io.text_files import read_text_lines
from cryoreg.datasets.io.text_tables import blank_separated
from cryoreg.datasets.io.volume_files import refuse, refuse_empty
from cryoreg.datasets.particles.carried import SILENT, Carried
from cryoreg.datasets.particles.numbered_tomograms import name_tomograms, whole_numbers
from cryoreg.datasets.particles.particle_list import ParticleList

_NAMES = {1: "tag", 4: "dx", 5: "dy", 6: "dz", 7: "tdrot", 8: "tilt", 9: "narot", 13: "ftype", 14: "ymintilt"}
_NAMES |= {15: "ymaxtilt", 20: "tomo", 21: "reg", 22: "class", 24: "x", 25: "y", 26: "z"}
_FIRST_VOXEL = 0.5
"""Dynamo's coordinates start at the corner of the first voxel, whose middle hence lies at 0.5."""
_Y_TILT = 1
"""The type (ftype) of the missing wedge of a single tilt series about y, whose range is told."""
_AXES = {_Y_TILT: "y", 2: "x"}
"""About which axis a single tilt series is, by its type; the beam lies along z."""
_BEAM_ALONG_Y = (6, 7)
_SIZE = "column36"
"""Å per pixel (apix), 0 where not known; tables of 35 columns lack it."""


def read_table(path: str) -> ParticleList:
    """Read a Dynamo table; a particle is at x, y, z (columns 24 to 26) plus its shifts (4 to 6), less half a voxel."""
    table = _read_numbers(path)
    places = table[["x", "y", "z"]].to_numpy() + table[["dx", "dy", "dz"]].to_numpy()
    bad = np.flatnonzero(~np.isfinite(places).all(axis=1))
    if len(bad):
        refuse(path, f"has coordinates that are no numbers in row {bad[0]}; mend the row")
    varied = table["class"].nunique() > 1
    numbers = whole_numbers(path, table["tomo"].to_numpy(), "its tomogram", "column 20")
    return ParticleList(
        path=path,
        coordinates=places - _FIRST_VOXEL,
        unit="voxel",
        columns=table,
        label="class" if varied else None,
        class_columns=("class",),
        tilt_ranges=_tilt_ranges(table),
        frame="from the corner of the first voxel",
        told_sizes=_told_sizes(table),
        **name_tomograms(numbers, path, "*.doc", "*.vll")._asdict(),
        carried=_axes(table),
        notes=[*note_on_zero(path, table, "class" if varied else None), *_on_beam(path, table)],
    )


def _read_numbers(path: str) -> pd.DataFrame:
    rows = list(blank_separated(read_text_lines(path, "a Dynamo table")))
    if not rows:
        refuse_empty(path)
    width = len(rows[0][1])
    if width < max(_NAMES):
        refuse(path, f"has {width} columns where a Dynamo table has at least {max(_NAMES)}; export it again")
    if width >= 2 * max(_NAMES):
        refuse(path, f"line {rows[0][0]} has {width} values, as of two rows in one line; write one row to a line")
    for line, values in rows:
        if len(values) != width:
            refuse(path, f"line {line} has {len(values)} values where the first row has {width}; mend it")
    columns = {
        _NAMES.get(number, f"column{number}"): [values[number - 1] for _, values in rows]
        for number in range(1, width + 1)
    }
    table = pd.DataFrame(columns)
    for number, name in _NAMES.items():
        column = pd.to_numeric(table[name], errors="coerce")
        bad = np.flatnonzero(column.isna() & (table[name].str.lower() != "nan"))
        if len(bad):
            row = bad[0]
            refuse(path, f"has '{table[name][row]}' in row {row}, column {number}, not a number; mend the row")
        table[name] = column
    return table


def _tilt_ranges(table: pd.DataFrame) -> list[tuple[float, float] | None]:
    return [
        (float(low), float(high)) if kind == _Y_TILT and low < high else None
        for kind, low, high in zip(table["ftype"], table["ymintilt"], table["ymaxtilt"], strict=True)
    ]


def _told_sizes(table: pd.DataFrame) -> NDArray[np.float64] | None:
    if _SIZE not in table:
        return None
    sizes = pd.to_numeric(table[_SIZE], errors="coerce").to_numpy(float)
    return np.where(sizes > 0, sizes, np.nan)


def _axes(table: pd.DataFrame) -> Carried:
    axes = [_AXES.get(kind) for kind in table["ftype"]]
    return Carried(tilt_axes=axes) if any(axes) else SILENT


def _on_beam(path: str, table: pd.DataFrame) -> list[str]:
    """Return a note on tomograms in which the beam lies along y, as before they are turned about x."""
    rows = np.flatnonzero(table["ftype"].isin(_BEAM_ALONG_Y))
    if not len(rows):
        return []
    return [
        f"{path}: says that the beam lies along y in {len(rows)} of {len(table)} rows (column 13 is "
        f"{table['ftype'][rows[0]]:g} in row {rows[0]}), and it is taken to lie along z; pick in turned tomograms "
        "(IMOD: trimvol -rx)"
    ]
