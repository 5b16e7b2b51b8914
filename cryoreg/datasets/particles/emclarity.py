"""emClarity's tables (.csv): 26 numbers for each particle, blanks between, no header.

Coordinates (columns 11 to 13) are the index in the searched tomogram, which MATLAB counts from 1, times its binning
(column 2): its BH_templateSearch3d writes them so, and the tomogram is what the table is called: ``tilt1_1_bin6.csv``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from cryoreg.datasets.io.columns import varied
from cryoreg.datasets.io.text_files import read_text_lines
from cryoreg.datasets.io.text_tables import blank_separated
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.particles.particle_list import ParticleList
from cryoreg.datasets.particles.sniffing import EMCLARITY_COLUMNS

_NAMES = {1: "cc", 2: "binning", 4: "particle", 11: "x", 12: "y", 13: "z", 26: "class"}
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
        varied(table, ("class",)),
        frame=f"binned by {binning[0]:g} and counted from 1, as emClarity does",
    )


def _table(path: str) -> pd.DataFrame:
    rows = list(blank_separated(read_text_lines(path, "an emClarity table")))
    width = len(rows[0][1])
    for line, values in rows:
        if len(values) != width:
            refuse(path, f"line {line} has {len(values)} values where the first has {width}; mend it")
    columns = [_NAMES.get(number, f"column{number}") for number in range(1, EMCLARITY_COLUMNS + 1)]
    columns += [f"column{number}" for number in range(EMCLARITY_COLUMNS + 1, width + 1)]
    table = pd.DataFrame([values for _, values in rows], columns=columns).apply(pd.to_numeric, errors="coerce")
    bad = np.flatnonzero(~np.isfinite(table[[*_NAMES.values()]].to_numpy(np.float64)).all(axis=1))
    if len(bad):
        refuse(path, f"line {rows[bad[0]][0]} has values that are no numbers; mend it")
    return table
