"""Tell whether subtomograms under known ids are the ones that a run saw, by some voxels of a few of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryoreg.contracts import SubtomogramDataset
from cryoreg.errors import DataError

_SUBTOMOGRAMS, _VOXELS = 8, 16
_ROUNDING = 0.02
"""Standard deviations of a volume: what conversion may change, and no other reconstruction, filter or sign does not."""


def glimpse(dataset: SubtomogramDataset) -> str:
    """Return `_VOXELS` voxels of `_SUBTOMOGRAMS` subtomograms, evenly spread, in hexadecimal float16.

    Volumes have mean 0 and standard deviation 1; those that cannot be read are NaN.
    """
    return _glimpse(dataset).astype("<f2").tobytes().hex()


def looks_as(dataset: SubtomogramDataset, recorded: str) -> bool:
    """Tell whether a data set has the voxels that `glimpse` ``recorded`` of one with the same ids and box."""
    then, now = np.frombuffer(bytes.fromhex(recorded), "<f2").astype(np.float64), _glimpse(dataset)
    if then.shape != now.shape:
        return False
    read = np.isfinite(then) & np.isfinite(now)
    return np.allclose(then[read], now[read], rtol=0, atol=_ROUNDING)


def _glimpse(dataset: SubtomogramDataset) -> NDArray[np.float64]:
    rows = np.unique(np.linspace(0, len(dataset) - 1, _SUBTOMOGRAMS).round().astype(int))
    return np.concatenate([_voxels(dataset, row) for row in rows.tolist()])


def _voxels(dataset: SubtomogramDataset, row: int) -> NDArray[np.float64]:
    """Return voxels in places that are drawn once and for all."""
    try:
        volume = dataset[row].volume.numpy().ravel().astype(np.float64)
    except DataError:
        return np.full(_VOXELS, np.nan)
    places = np.random.default_rng(0).integers(volume.size, size=_VOXELS)
    return (volume[places] - volume.mean()) / max(volume.std(), np.finfo(np.float32).tiny)
