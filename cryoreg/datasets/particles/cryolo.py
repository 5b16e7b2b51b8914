"""What crYOLO, TomoTwin and napari-boxmanager write of particles in a tomogram: boxes (.cbox) and places (.coords).

A box's x and y are those of its corner, and z is that of its middle, in voxels from 0: so TomoTwin and
napari-boxmanager write them (x - width / 2, y - height / 2, z) and napari-boxmanager reads them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.datasets.io import relion_tables
from cryoreg.datasets.io.columns import numbers
from cryoreg.datasets.io.text_tables import read_values, with_numbers
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.particles.particle_list import ParticleList

CORNER = ("CoordinateX", "CoordinateY", "CoordinateZ")
_EDGES = ("Width", "Height")
_AXES = ["x", "y", "z"]


def read_cbox(path: str) -> ParticleList:
    """Read boxes, the table "cryolo" of a STAR file (crYOLO 1.8 and later)."""
    table = relion_tables.read_table(path, CORNER[:1], "boxes of crYOLO")
    if CORNER[2] not in table or table[CORNER[2]].isna().all():
        refuse(path, f"has boxes in 2D images (no {CORNER[2]}), not in a tomogram; give those of a tomogram")
    if missing := [name for name in (*CORNER, *_EDGES) if name not in table]:
        refuse(path, f"has no column {missing[0]}, without which the middle of a box is not known; export it again")
    x, y, z = (numbers(path, table, name) for name in CORNER)
    width, height = (numbers(path, table, name) for name in _EDGES)
    return _particles(path, np.stack([x + width / 2, y + height / 2, z], axis=1), table)


def read_coords(path: str) -> ParticleList:
    """Read places, x y z in each line."""
    table = read_values(path, "a list of coordinates")
    if table.shape[1] != len(_AXES):
        refuse(path, f"has {table.shape[1]} values in its first line, not x, y and z; write these alone")
    table.columns = pd.Index(_AXES)
    table = with_numbers(path, table, _AXES)
    return _particles(path, table.to_numpy(np.float64), table)


def _particles(path: str, places: NDArray[np.float64], table: pd.DataFrame) -> ParticleList:
    return ParticleList(path, places, "voxel", [None] * len(table), table, frame="from 0, as crYOLO and TomoTwin do")
