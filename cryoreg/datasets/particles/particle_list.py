"""What every format of particle lists is read as."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.datasets.io import relion
from cryoreg.datasets.particles.carried import SILENT, Carried

Unit = Literal["voxel", "angstrom", "centred", "middle"]
"""Voxels; Å from the middle of voxel 0; Å from the centre of the tomogram (RELION 5); or voxels before binning from
the voxel at edge // 2 of the tomogram (EMAN2)."""


def digest_of(names: Sequence[str | None], places: bytes = b"") -> str:
    """Return a digest of the rows of a list, of tomograms and places or of the names of images, and their number."""
    text = "\n".join(name or "" for name in names)
    return f"rows:{hashlib.sha256(text.encode(errors='surrogateescape') + places).hexdigest()[:24]}:{len(names)}"


@dataclass(frozen=True)
class ParticleList:
    """The particles of one list, N of them."""

    path: str
    coordinates: NDArray[np.float64]
    """(N, 3): x, y, z, counted from the middle of the first voxel."""
    unit: Unit
    tomograms: Sequence[str | None]
    """The name of the tomogram of each; None where the list does not say."""
    columns: pd.DataFrame
    """All columns of the list."""
    label: str | None = None
    """The column that holds the class, where the list has one with more than one value."""
    unit_sizes: NDArray[np.float64] | None = None
    """(N,): Å per voxel of the coordinates, or of the tilt series where they are centred."""
    shifts: NDArray[np.float64] | None = None
    """(N, 3): Å to add to the coordinates: RELION's origins, sign turned."""
    tilt_ranges: Sequence[tuple[float, float] | None] | None = None
    """Smallest and largest tilt of each, degrees."""
    frame: str = ""
    """Where the format counts from, in the words of `inspect`: "from the corner of the first voxel"."""
    from_corner: bool = False
    """Whether another unit leaves the first voxel's corner in its place, as IMOD's binning does, and not its middle."""
    image_sizes: NDArray[np.float64] | None = None
    """(N, 3): x, y, z of the volume in which each was picked, in units of the coordinates; it may have been larger."""
    told_sizes: NDArray[np.float64] | None = None
    """(N,): Å per pixel that the list tells beside its places, which may be scaled since; NaN: it does not."""
    numbers: Sequence[int | None] | None = None
    """The number of each one's tomogram, where the list has numbers rather than names."""
    tables: Sequence[str] = ()
    """The files beside the list that give these numbers names, and are not called as it is."""
    contradiction: str | None = None
    """In words, where two of them give one number different names."""
    named_by: Sequence[str] = ()
    """How such files are called: "*.doc"."""
    class_columns: Sequence[str] = ()
    """Those that may hold the class, the best first."""
    parts: Sequence[ParticleList] = ()
    """The lists of a folder, in their order, where this is all of them."""
    carried: Carried = SILENT
    """What else the list says of the tomograms."""
    notes: Sequence[str] = ()
    """On columns that may be of places and are not read, a line each."""

    @cached_property
    def are_fractions(self) -> bool:
        """Whether coordinates are fractions of the tomogram's size, all from 0 to 1, as Warp's matching has them."""
        if self.unit != "voxel" or self.frame:
            return False
        return bool(((self.coordinates >= 0) & (self.coordinates <= 1)).all() and (self.coordinates % 1 != 0).any())

    @cached_property
    def flat(self) -> str | None:
        """The column that says 2D stacks, in whose words WarpTools and RELION mean different voxels; None of others."""
        return relion.flat_column(self.path, self.columns) if self.unit == "voxel" else None

    @cached_property
    def rows(self) -> Sequence[tuple[str, int]]:
        """The list and the row, counted from 0, of each."""
        return [(each.path, row) for each in self.parts or [self] for row in range(len(each))]

    @cached_property
    def named(self) -> Sequence[str | None]:
        """The tomogram of each as its own list names it; None where that is only called so."""
        return [name for each in self.parts for name in each.tomograms] or self.tomograms

    @cached_property
    def digest(self) -> str:
        """A digest of tomograms and places, in their order."""
        return self.digest_of_first(len(self))

    def digest_of_first(self, count: int) -> str:
        """Return what `digest` was when the list had ``count`` rows, where others were added behind them since."""
        return digest_of(self.tomograms[:count], self.coordinates[:count].tobytes())

    def row(self, index: int) -> str:
        """Return the place of a particle in words: "row 17", or "row 17 of TS_02.csv" in a folder of lists."""
        file, row = self.rows[index]
        return f"row {row}" + ("" if file == self.path else f" of {os.path.basename(file)}")

    def __len__(self) -> int:
        return len(self.coordinates)
