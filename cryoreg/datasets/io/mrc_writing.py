"""Volumes as MRC files."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray

from cryoreg.files import write_atomically


def write_mrc(path: Path, volume: NDArray[np.float32], voxel_size: float | None) -> None:
    """Write a volume (D, H, W) as MRC, float32, voxel size (Å; 0 where unknown) in the header and origin at 0."""

    def write(name: str) -> None:
        with mrcfile.new(name, np.ascontiguousarray(volume, np.float32), overwrite=True) as mrc:
            mrc.set_volume()
            mrc.voxel_size = voxel_size or 0

    write_atomically(path, lambda file: write(file.name))
