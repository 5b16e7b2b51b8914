"""Tomograms in files, of which only the parts that are asked for are read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoreg.contracts import Box
from cryoreg.datasets.io.mrc import compressed, read_header
from cryoreg.datasets.io.mrc_header import MrcHeader
from cryoreg.datasets.io.mrc_tilts import tilts_of
from cryoreg.datasets.io.ome_zarr import OmeZarr
from cryoreg.datasets.io.signs import Reading, reading_of
from cryoreg.datasets.io.tiff import TiffStack
from cryoreg.datasets.io.tomogram import Region as Region
from cryoreg.datasets.io.tomogram import Tomogram as Tomogram  # where others look for them
from cryoreg.datasets.io.volume_files import one_line, refuse, times
from cryoreg.datasets.io.voxel_sizes import edge_length
from cryoreg.datasets.resampling import sample_box
from cryoreg.datasets.stated import contradicting
from cryoreg.datasets.tomograms.kinds import MRC, STACKS, TIFF, kind_of, other_kind, refuse_kind
from cryoreg.errors import DataError

_LEAST_OF_A_TOMOGRAM = 32
"""Voxels of an edge, below which a volume is a box."""
_SLAB = 0.7


def open_tomogram(path: str | Path, voxel_size: float | None = None) -> Tomogram:
    """Open an MRC file, an OME-Zarr image or a TIFF stack; its voxels are read later.

    ``voxel_size`` (Å) overrules the file. Of the levels of an OME-Zarr image the one of that voxel size is taken, else
    the finest; ``image.zarr/1`` names a level. Raises `DataError` where the file is not a tomogram.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        return OmeZarr(path, voxel_size)
    kind = kind_of(path) or _kind_by_name(path)
    tomogram = TiffStack(path, voxel_size) if kind == "TIFF" else MrcTomogram(path, voxel_size)
    tomogram.notes = [*tomogram.notes, *_on_shape(tomogram.shape)]
    return tomogram


def _on_shape(shape: Box) -> list[str]:
    """Return a note on a volume that is a slab across y, as programs write it before they turn it about x."""
    z, y, x = shape
    if y < _LEAST_OF_A_TOMOGRAM or y > _SLAB * min(z, x):
        return []
    return [
        f"is a slab across y ({times((x, y, z))} voxels, x y z), as tomograms are before they are turned about x "
        "(IMOD: trimvol -rx); the beam is taken to lie along z, as in turned ones"
    ]


def _kind_by_name(path: str) -> str:
    """Return what a file is named as, whose content tells nothing: what is wrong with it is told by its reader."""
    if path.lower().endswith((*MRC, *STACKS, *TIFF)) and other_kind(path) is None:
        return "TIFF" if path.lower().endswith(TIFF) else "MRC"
    refuse_kind(path)


def notes_on(tomograms: Iterable[Tomogram]) -> Iterator[tuple[str, str]]:
    """Yield each note on a tomogram, with its path in front."""
    for tomogram in tomograms:
        yield from ((tomogram.path, note) for note in tomogram.notes)


def header_sizes(files: Iterable[str | Path]) -> dict[str, float | None]:
    """Return file -> Å per voxel as its header says; a level of an OME-Zarr image is chosen by it, and left out."""
    return {os.fspath(file): open_tomogram(file).voxel_size for file in files if not os.path.isdir(file)}


def against_headers(files: Iterable[str | Path], voxel_size: float | None) -> bool:
    """Tell whether a voxel size (Å) that is told of files contradicts a header, be it by voxels that are no cubes."""
    if voxel_size is None:
        return False
    try:
        return bool(contradicting(header_sizes(files), voxel_size))
    except DataError:
        return True


class MrcTomogram(Tomogram):
    """A tomogram in an MRC file, mapped into memory while a part is read."""

    def __init__(self, path: str, voxel_size: float | None = None) -> None:
        """Read and check the header; ``voxel_size`` (Å) overrules it."""
        if compressed(path):
            refuse(path, "is compressed, so that boxes cannot be cut without reading all of it; unpack it (gunzip)")
        header = read_header(path)
        _check_no_series(path, header)
        self.path, self.shape, self.origin = path, header.box, header.origin
        self.voxel_size = voxel_size or edge_length(path, header.voxel_sizes)
        self._axes, self._offset, self._stored = header.axes, header.offset, header.stored
        self._dtype = header.dtype
        self._dtype, note = self._reading(header)
        self.notes = [*header.notes, *filter(None, [note, _on_name(path), _on_axes(header)])]

    def _reading(self, header: MrcHeader) -> Reading:
        """Return how the voxels are to be read, by the header and the middle section."""
        if header.dtype.kind == "f":
            return Reading(header.dtype)
        with one_line(self.path, "a tomogram"):
            return reading_of(self.path, header, np.array(self._map()[self._stored[0] // 2]))

    def _map(self) -> np.ndarray:
        return np.memmap(self.path, self._dtype, "r", self._offset, self._stored)

    def _read(self, region: Region) -> np.ndarray:
        return self._map().transpose(self._axes)[region]


def _check_no_series(path: str, header: MrcHeader) -> None:
    """Raise `DataError` where a file is a tilt series, whose header calls it a volume as old programs do."""
    tilts = tilts_of(path, header)
    if tilts is not None:
        refuse(
            path,
            f"is a tilt series, no tomogram: its extended header has a tilt for each of its {len(tilts)} sections "
            f"({tilts.min():g}° to {tilts.max():g}°); give what was reconstructed from it",
        )


def _on_axes(header: MrcHeader) -> str | None:
    """Return a note on axes in another order, which most programs of tomography do not look at."""
    if header.axes == (0, 1, 2):
        return None
    order = ["zyx"[header.axes.index(stored)] for stored in (2, 1, 0)]
    return (
        f"is stored with columns along {order[0]}, rows along {order[1]} and sections along {order[2]} (MAPC, MAPR, "
        "MAPS), and x, y and z are taken as these say; many programs, such as IMOD and RELION, do not look at them, "
        "and mean columns by the x of their lists: if it is so here, or for 3dmod, store it in the usual order"
    )


def _on_name(path: str) -> str | None:
    if not path.lower().endswith(STACKS):
        return None
    return "is named as tilt series and stacks of images are, but is a volume by its header; check that it is one"


def cut(tomogram: Tomogram, centre: ArrayLike, box: Box | int, step: float = 1.0) -> tuple[NDArray[np.float32], float]:
    """Return a box around a point of a tomogram, float32 (D, H, W), and which fraction of it lies outside.

    The box's voxel at index edge // 2 lies at ``centre`` (z, y, x), in voxels of the tomogram, whose first voxel is 0;
    its voxels are ``step`` voxels of the tomogram apart. Whole voxels are copied; else `sample_box` interpolates, and
    removes what is finer than the box's voxels. What lies outside repeats the outermost voxels. Raises `DataError`
    where voxels in or around the box are no density.
    """
    edges = (box, box, box) if isinstance(box, int) else box
    point = np.asarray(centre, dtype=np.float64)
    volume = sample_box(cast(Any, tomogram), point, edges, step)
    start = point - step * (np.array(edges) // 2)
    return volume, _outside(tomogram.shape, start, edges, step)


def _outside(shape: Box, start: NDArray[np.float64], box: Box, step: float) -> float:
    """Return the fraction of a box's voxels whose middles lie beyond the faces of a tomogram."""
    inside = 1.0
    for first, count, edge in zip(start, box, shape, strict=True):
        places = first + step * np.arange(count)
        inside *= np.mean((places >= -0.5) & (places <= edge - 0.5))
    return 1 - float(inside)
