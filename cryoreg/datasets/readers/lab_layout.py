"""How the paper's lab lays out its data: names of folders and keys, and where its beam points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

VOLUMES = "subtomogram_mrc"
LABELS = "json_label"
HDF5_VOLUMES = "dataset_1"
HDF5_LABELS = "target"
LAB_AXES = (2, 0, 1)
"""The beam of the lab's volumes lies along MRC X, the last axis of an array (z, y, x)."""
LAB_TILT_AXIS: Literal["x"] = "x"
"""Once the beam lies along z."""
MARK = ".cryoreg.json"
"""A file in each folder of subtomograms that cryoreg writes, hidden from readers, that tells how it was made."""
TILT_AXIS = "tilt_axis"
"""What it calls that of the data, null where nobody knows."""


def tilt_axis_of(root: str | Path) -> Literal["x", "y"] | None:
    """Return the tilt axis of a folder in this layout: that of the data where cryoreg wrote it, else the lab's."""
    try:
        axis: Literal["x", "y"] | None = json.loads(Path(root, MARK).read_bytes())[TILT_AXIS]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return LAB_TILT_AXIS
    return axis if axis in ("x", "y", None) else LAB_TILT_AXIS
