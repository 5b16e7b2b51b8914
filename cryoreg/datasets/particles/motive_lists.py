"""Motive lists of TOM and AV3 and of what came after them: STOPGAP (.star), EM files (.em) and cryoCAT.

They are written for MATLAB and count voxels from 1: STOPGAP cuts a box whose voxel floor(edge / 2) + 1 is the voxel
that ``orig_x`` names (its ``extract_parse_subtomo_positions``), and shifts are what alignment adds to that.
"""

from __future__ import annotations

import pandas as pd

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.class_columns import note_on_zero
from cryoreg.datasets.io.columns import triples, varied
from cryoreg.datasets.io.em import read_em_rows
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.particles.numbered_tomograms import name_tomograms, whole_numbers
from cryoreg.datasets.particles.particle_list import ParticleList

FRAME = "counted from 1, as MATLAB does"
FIRST = 1.0
_LABELS = ("class",)
EM_ROWS = {1: "score", 4: "subtomo_num", 5: "tomo_num", 6: "object", 8: "orig_x", 9: "orig_y", 10: "orig_z"}
EM_ROWS |= {11: "x_shift", 12: "y_shift", 13: "z_shift", 17: "phi", 18: "psi", 19: "the", 20: "class"}
"""The rows of an EM motive list, counted from 1, in STOPGAP's words."""
_SHIFTS = [f"{axis}_shift" for axis in "xyz"]
TOMOLIST = "*tomolist*.txt"


def is_motive_list(table: pd.DataFrame) -> bool:
    """Tell a table with STOPGAP's columns from those with RELION's."""
    return relion.MOTIVE[2] in table and not relion.lists_places(table.columns)


def motive_list(path: str, table: pd.DataFrame) -> ParticleList:
    """Return the particles of a table with STOPGAP's columns: at orig_x, y, z plus shift, in voxels of the tomogram."""
    places, shifts = triples(path, table, relion.MOTIVE), triples(path, table, _SHIFTS)
    assert places is not None
    if "tomo_num" not in table:
        refuse(path, "has no column tomo_num, the number of the tomogram; export it again")
    column = pd.to_numeric(table["tomo_num"], errors="coerce").to_numpy(float)
    numbers = whole_numbers(path, column, "its tomogram", "tomo_num")
    label = varied(table, _LABELS)
    return ParticleList(
        path=path,
        coordinates=places + (0.0 if shifts is None else shifts) - FIRST,
        unit="voxel",
        columns=table,
        label=label,
        class_columns=_LABELS,
        frame=FRAME,
        **name_tomograms(numbers, path, TOMOLIST)._asdict(),
        notes=note_on_zero(path, table, label),
    )


def read_em(path: str) -> ParticleList:
    """Read a motive list in EM format: 20 numbers for each particle."""
    rows = read_em_rows(path)
    names = [EM_ROWS.get(number, f"row{number}") for number in range(1, rows.shape[1] + 1)]
    return motive_list(path, pd.DataFrame(rows, columns=names))
