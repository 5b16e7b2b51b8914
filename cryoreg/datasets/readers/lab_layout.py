"""How the paper's lab lays out its data: names of folders and keys, and where its beam points."""

from __future__ import annotations

from typing import Literal

VOLUMES = "subtomogram_mrc"
LABELS = "json_label"
HDF5_VOLUMES = "dataset_1"
HDF5_LABELS = "target"
LAB_AXES = (2, 0, 1)
"""The beam of the lab's volumes lies along MRC X, the last axis of an array (z, y, x)."""
LAB_TILT_AXIS: Literal["x"] = "x"
"""Once the beam lies along z."""
