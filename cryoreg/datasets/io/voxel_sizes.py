"""Voxel sizes, Å, and when two of them are the same."""

from __future__ import annotations

import numpy as np

from cryoreg.errors import DataError

SAME_VOXEL_SIZE = 0.01
"""Voxel sizes that differ by a smaller fraction count as the same."""
ANGSTROM = {"angstrom": 1.0, "ångström": 1.0, "å": 1.0, "a": 1.0, "picometer": 1e-2, "pm": 1e-2}
ANGSTROM |= {"nanometer": 10.0, "nm": 10.0, "micrometer": 1e4, "micron": 1e4, "microns": 1e4, "um": 1e4}
ANGSTROM |= {"µm": 1e4, "μm": 1e4, "millimeter": 1e7, "mm": 1e7, "meter": 1e10, "m": 1e10}
"""Å in each unit of length, in lower case."""
_OVERRULE = "--set dataset.voxel_size=<Å>"


def edge_length(file: str, sizes: tuple[float, float, float] | None) -> float | None:
    """Return the edge of a voxel, Å; raise `DataError` where voxels are no cubes."""
    if sizes is None:
        return None
    if not same_size(min(sizes), max(sizes)):
        listed = " × ".join(f"{size:.4g}" for size in sizes)
        raise DataError(f"{file}: has voxels of {listed} Å; resample them to cubes, or overrule with {_OVERRULE}")
    return float(np.mean(sizes))


def same_size(a: float | None, b: float | None) -> bool:
    """Tell whether two voxel sizes, None where a file does not say, count as one."""
    if a is None or b is None:
        return a is b
    return abs(a - b) <= SAME_VOXEL_SIZE * max(a, b)
