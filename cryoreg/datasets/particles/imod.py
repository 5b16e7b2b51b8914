"""IMOD's models as particle lists: each point is a particle, each object a class.

Where voxel 0 lies: "Model Coordinate Conventions" of https://bio3d.colorado.edu/imod/doc/binspec.html. x and y go from
0 to the size of the image, z from -0.5: the middle of the first voxel is at 0.5, 0.5, 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from cryoreg.datasets.io.columns import varied
from cryoreg.datasets.io.imod import read_model
from cryoreg.datasets.io.text_tables import read_values, with_numbers
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.particles.particle_list import ParticleList

FRAME = "as IMOD counts them: x and y from the corner of the first voxel, z from the middle of the first slice"
FIRST_VOXEL = np.array([0.5, 0.5, 0.0])
"""Where the middle of the first voxel is."""
_LABELS = ("object",)
_COLUMNS = {3: ("x", "y", "z"), 4: ("contour", "x", "y", "z"), 5: ("object", "contour", "x", "y", "z")}
"""What model2point writes, without numbers, with those of contours (-contour) and of objects too (-object)."""


def read_imod(path: str, unit_told: bool = False) -> ParticleList:
    """Read a binary model; its voxels are those of the image that it was made on."""
    model = read_model(path)
    names = [model.names[number - 1] or str(number) for number in model.objects]
    table = pd.DataFrame(model.points, columns=["x", "y", "z"]).assign(
        object=names if len(set(names)) == len(set(model.objects)) else model.objects.astype(str),
        contour=model.contours,
    )
    size = None if unit_told else model.voxel_size
    return replace(_particles(path, table, size), image_sizes=np.tile(model.size, (len(table), 1)))


def read_points(path: str, unit_told: bool = False) -> ParticleList:
    """Read what model2point writes: x y z in each line, after the numbers of contour, or object and contour."""
    table = read_values(path, "a list of points")
    width = table.shape[1]
    if width not in _COLUMNS:
        refuse(path, f"has {width} values in its first line, not the 3, 4 or 5 of model2point; write it without others")
    table.columns = pd.Index(_COLUMNS[width])
    return _particles(path, with_numbers(path, table, ["x", "y", "z"]), None)


def _particles(path: str, table: pd.DataFrame, size: float | None) -> ParticleList:
    return ParticleList(
        path,
        table[["x", "y", "z"]].to_numpy(np.float64) - FIRST_VOXEL,
        "voxel",
        [None] * len(table),
        table,
        varied(table, _LABELS),
        None if size is None else np.full(len(table), size),
        frame=FRAME,
        from_corner=True,
        class_columns=_LABELS,
    )
