"""Voxel sizes, Å, and when two of them are the same."""

from __future__ import annotations

import numpy as np

from cryoreg.errors import DataError

SAME_VOXEL_SIZE = 0.01
"""Voxel sizes that differ by a smaller fraction count as the same."""
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
