"""emClarity's tables (.csv): 26 numbers for each particle, blanks between, no header.

Coordinates (columns 11 to 13) are the index in the searched tomogram, which MATLAB counts from 1, times its binning
(column 2): its BH_templateSearch3d writes them so, and the tomogram is what the table is called: ``tilt1_1_bin6.csv``.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from cryoreg.datasets.io.columns import varied
from cryoreg.datasets.io.text_tables import read_values, with_numbers
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.particles.particle_list import ParticleList

_NAMES = {1: "cc", 2: "binning", 4: "particle", 11: "x", 12: "y", 13: "z", 26: "class"}
_LABELS = ("class",)
_IGNORED = -9999
"""The class of particles that emClarity leaves out."""
_FIRST = 1.0
_CONVMAP = re.compile(r"_convmap$", re.IGNORECASE)


def read_emclarity(path: str) -> ParticleList:
    """Read a table; places are x, y, z over the binning of the search, less 1, in voxels of the searched tomogram."""
    table = _table(path)
    binning = table["binning"].to_numpy()
    if not (binning > 0).all() or len(set(binning)) > 1:
        refuse(
            path, f"has binnings from {binning.min():g} to {binning.max():g} in column 2, where one is meant; split it"
        )
    places = table[["x", "y", "z"]].to_numpy() / binning[:, None] - _FIRST
    return ParticleList(
        path,
        places,
        "voxel",
        [_CONVMAP.sub("", Path(path).stem)] * len(table),
        table.assign(**{"class": table["class"].astype(object).where(table["class"] != _IGNORED, None)}),
        varied(table, _LABELS),
        frame=f"binned by {binning[0]:g} and counted from 1, as emClarity does",
        class_columns=_LABELS,
    )


def _table(path: str) -> pd.DataFrame:
    table = read_values(path, "an emClarity table").apply(pd.to_numeric, errors="coerce")
    table.columns = pd.Index([_NAMES.get(number, f"column{number}") for number in range(1, table.shape[1] + 1)])
    return with_numbers(path, table, [*_NAMES.values()])
