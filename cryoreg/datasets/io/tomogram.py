"""A tomogram on disk, of whatever format: the part that is asked for is read, and checked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryoreg.contracts import Box
from cryoreg.datasets.io.volume_files import limits, one_line, refuse

Region = tuple[slice, slice, slice]
"""A part of a tomogram along z, y and x."""
_IMPLAUSIBLE = 1e15
_TINIEST = 1e-30
"""Below this lie all voxels where small whole numbers are read in the wrong order."""


class Tomogram(ABC):
    """One tomogram on disk: ``shape`` (z, y, x) in voxels, ``voxel_size`` in Å or None, where the file does not say.

    Picklable; no file stays open.
    """

    path: str
    shape: Box
    voxel_size: float | None
    finest_size: float | None = None
    """Å per voxel of the finest level of an image of several, where a coarser one is read."""
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Where the first voxel lies along z, y and x, Å, as far as the file says."""
    top_first: bool = False
    """Whether rows are those of a picture, which programs of electron microscopy count, and see, from the last one."""
    notes: Sequence[str] = ()
    """What was assumed, or read in spite of a fault."""

    def read(self, region: Region) -> NDArray[np.float32]:
        """Return a part of the tomogram, float32 (z, y, x); raise `DataError` where its voxels are no density."""
        with one_line(self.path, "a tomogram"):
            part = np.ascontiguousarray(self._read(region), dtype=np.float32)
        low, high = limits(part)
        tiny = 0 < max(-low, high) < _TINIEST and _sensible(part.byteswap())
        if tiny or not _sensible(part):
            refuse(f"{self.path}{_where(region)}", _fault(part))
        return part

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        """Return ``tomogram[z0:z1, y0:y1, x0:x1]``, of steps 1; trailing axes may be left out."""
        slices = list(key) if isinstance(key, tuple) else [key]
        z, y, x = slices + [slice(None)] * (3 - len(slices))
        return self.read((z, y, x))

    @abstractmethod
    def _read(self, region: Region) -> np.ndarray:
        """Return a part as it is stored, with axes (z, y, x)."""


def _where(region: Sequence[slice]) -> str:
    """Name a part of a tomogram in the order of coordinates."""
    bounds = [f"{axis} {part.start}-{part.stop - 1}" for axis, part in zip("zyx", region, strict=True) if part.stop]
    return f" at {', '.join(reversed(bounds))}" if bounds else ""


def _sensible(part: NDArray[np.float32]) -> bool:
    low, high = limits(part)
    return low > -_IMPLAUSIBLE and high < _IMPLAUSIBLE


def _fault(part: NDArray[np.float32]) -> str:
    if _sensible(part.byteswap()):
        return "has its voxels' bytes in the wrong order; swap them or export it again"
    bad = np.count_nonzero(~np.isfinite(part))
    if bad:
        return f"holds NaN or infinite voxels ({bad:,} of {part.size:,}); leave this part out or reconstruct it again"
    return f"holds values from {part.min():.3g} to {part.max():.3g}, which no density has; export it again"
