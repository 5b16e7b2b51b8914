"""Tomograms in files, of which only the parts that are asked for are read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryoreg.contracts import Box
from cryoreg.datasets.io.mrc import MrcHeader, compressed, read_header
from cryoreg.datasets.io.ome_zarr import OmeZarr
from cryoreg.datasets.io.tomogram import Region as Region
from cryoreg.datasets.io.tomogram import Tomogram as Tomogram  # where others look for them
from cryoreg.datasets.io.volume_files import one_line, refuse
from cryoreg.datasets.io.voxel_sizes import edge_length
from cryoreg.datasets.resampling import sample_box

MRC = (".mrc", ".rec", ".map")
TIFF = (".tif", ".tiff")
ZARR = (".zarr",)
ENDINGS = (*MRC, *TIFF, *ZARR)
"""What the names of tomograms end with."""
_MOST_SIGNED = 127
_TEAR = 2


def open_tomogram(path: str | Path, voxel_size: float | None = None) -> Tomogram:
    """Open an MRC file, an OME-Zarr image or a TIFF stack; its voxels are read later.

    ``voxel_size`` (Å) overrules the file. Of the levels of an OME-Zarr image the one of that voxel size is taken, else
    the finest; ``image.zarr/1`` names a level. Raises `DataError` where the file is not a tomogram.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        return OmeZarr(path, voxel_size)
    return TiffStack(path, voxel_size) if path.lower().endswith(TIFF) else MrcTomogram(path, voxel_size)


class MrcTomogram(Tomogram):
    """A tomogram in an MRC file, mapped into memory while a part is read."""

    def __init__(self, path: str, voxel_size: float | None = None) -> None:
        """Read and check the header; ``voxel_size`` (Å) overrules it."""
        if compressed(path):
            refuse(path, "is compressed, so that boxes cannot be cut without reading all of it; unpack it (gunzip)")
        header = read_header(path)
        self.path, self.shape = path, header.box
        self.voxel_size = voxel_size or edge_length(path, header.voxel_sizes)
        self._axes, self._offset, self._stored = header.axes, header.offset, header.stored
        self._dtype = header.dtype
        self._dtype = self._signed_or_unsigned(header)

    def _signed_or_unsigned(self, header: MrcHeader) -> np.dtype:
        """Return the type of the voxels; bytes are signed unless the header, or the middle section, says otherwise."""
        if header.dtype != np.int8 or header.signed_bytes:
            return header.dtype
        if header.signed_bytes is False or header.limits[1] > _MOST_SIGNED:
            return np.dtype(np.uint8)
        if header.limits[0] < 0:
            return header.dtype
        with one_line(self.path, "a tomogram"):
            section = self._map()[self._stored[0] // 2]
        if section.std() > _TEAR * section.view(np.uint8).std():
            refuse(self.path, "holds bytes that look unsigned, but its header does not say so; convert it to mode 1")
        return header.dtype

    def _map(self) -> np.ndarray:
        return np.memmap(self.path, self._dtype, "r", self._offset, self._stored)

    def _read(self, region: Region) -> np.ndarray:
        return self._map().transpose(self._axes)[region]


class TiffStack(Tomogram):
    """A tomogram in a TIFF file with a page for each section along z, read as a whole at first use."""

    def __init__(self, path: str, voxel_size: float | None = None) -> None:
        """Read the size; ``voxel_size`` in Å, as the file does not say."""
        with _opened(path) as image:
            width, height = image.size
            pages, mode = getattr(image, "n_frames", 1), image.mode
        if mode not in ("L", "F", "I") and not mode.startswith("I;16"):
            refuse(path, f"is a picture of mode {mode}, not a stack of grey sections; convert it to MRC")
        if pages < 2:
            refuse(path, "holds a single section, not a tomogram; give a stack with a page for each section")
        self.path, self.voxel_size = path, voxel_size
        self.shape = (pages, height, width)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the voxels out: a worker process reads them itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_voxels"}

    @cached_property
    def _voxels(self) -> np.ndarray:
        from PIL import ImageSequence

        with _opened(self.path) as image:
            return np.stack([np.array(page) for page in ImageSequence.Iterator(image)])

    def _read(self, region: Region) -> np.ndarray:
        return self._voxels[region]


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """Open a TIFF file by Pillow, as nothing else: other formats would be handed to other programs."""
    from PIL import Image

    with one_line(path, "a TIFF stack"):
        try:
            with Image.open(path, formats=["TIFF"]) as image:
                yield image
        except Image.DecompressionBombError:
            refuse(path, "has sections of far too many pixels; convert it to MRC")


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
