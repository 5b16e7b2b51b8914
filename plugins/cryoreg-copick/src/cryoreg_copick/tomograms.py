"""Tomograms of a copick project, wherever its storage is."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import copick
import numpy as np
import zarr

from cryoreg.datasets.authoring import Region, Tomogram, check_kind, one_line, refuse, times
from cryoreg.errors import DataError

_FINEST = "0"


class CopickTomogram(Tomogram):
    """One tomogram of a run at its finest level, axes (z, y, x); opened anew in each process."""

    def __init__(self, config: str, run: str, spacing: float, kind: str, voxel_size: float | None = None) -> None:
        """Open a tomogram by its run, voxel spacing and type; ``voxel_size`` (Å) overrules the spacing."""
        self._config, self._key = config, (run, spacing, kind)
        self.path = f"{run}/VoxelSpacing{spacing:.3f}/{kind}.zarr"
        array = self._array()
        check_kind(self.path, array.dtype)
        if array.ndim != 3 or min(array.shape) < 2:
            refuse(self.path, f"is no volume but has shape {times(array.shape)}; choose another tomogram")
        z, y, x = array.shape
        self.shape = (z, y, x)
        self.spacing = spacing
        """Å, by which copick places picks."""
        self.voxel_size = voxel_size or spacing

    def _array(self) -> Any:
        return _array(os.getpid(), self._config, *self._key)

    def _read(self, region: Region) -> np.ndarray:
        return np.asarray(self._array()[region])


def open_project(config: str) -> Any:
    """Open a copick project; raise `DataError` where its configuration cannot be read."""
    with one_line(config, "the configuration of a copick project"):
        try:
            return copick.from_file(config)
        except (KeyError, TypeError, AttributeError, ImportError) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{config}: is not the configuration of a copick project ({type(error).__name__}: {reason}); "
                "give the JSON file that opens it"
            ) from None


@lru_cache(maxsize=8)
def _project(process: int, config: str) -> Any:
    """Keep a project open in each process; storage must not be shared across a fork."""
    return open_project(config)


@lru_cache(maxsize=256)
def _array(process: int, config: str, run: str, spacing: float, kind: str) -> Any:
    found = _project(process, config).get_run(run).get_voxel_spacing(spacing).get_tomograms(kind)
    where = f"{run}/VoxelSpacing{spacing:.3f}/{kind}.zarr"
    with one_line(where, "a tomogram"):
        try:
            return zarr.open(found[0].zarr(), mode="r")[_FINEST]
        except (KeyError, IndexError):
            raise DataError(f"{where}: has no level {_FINEST} in {config}; write the tomogram again") from None
