"""Tomograms in TIFF: a page for each section along z. Tags are read by tifffile, and so are voxels where it can.

Numbers are taken as they are stored, with the sign that SampleFormat gives them; nothing is inverted, whatever the
photometric interpretation is, but a note says so.
"""

from __future__ import annotations

import logging
import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np

from cryoreg.contracts import Box
from cryoreg.datasets.io.tiff_sizes import voxel_sizes
from cryoreg.datasets.io.tomogram import Region, Tomogram
from cryoreg.datasets.io.volume_files import check_kind, guarded, one_line, refuse, times
from cryoreg.datasets.io.voxel_sizes import edge_length

_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1
_BY_PILLOW = {5: "LZW", 6: "JPEG", 7: "JPEG"}
"""Compressions for which tifffile wants a further package."""
_MOST_UNPACKED = 2**30
"""Bytes of a compressed stack, which can claim any size."""
_DENSEST = 1100
"""No compression of the usual ones packs more bytes into one."""
_PLANE = ("Y", "X")
_TOP_LEFT = 1


class TiffStack(Tomogram):
    """A tomogram in a TIFF file: mapped where its voxels lie in one piece, else read as a whole at first use."""

    top_first = True

    def __init__(self, path: str, voxel_size: float | None = None) -> None:
        """Read the tags; ``voxel_size`` (Å) overrules what ImageJ, OME or the resolution say."""
        self.path = path
        with _opened(path) as tiff:
            series = _series(path, tiff)
            first = series.keyframe
            self.shape = _shape(path, series)
            self._dtype = series.dtype.newbyteorder(tiff.byteorder)
            check_kind(path, self._dtype)
            self._offset = _offset(path, tiff, series)
            self._by_pillow = self._offset is None and int(first.compression) in _BY_PILLOW
            if self._by_pillow and _on_orientation(first):  # Pillow turns them
                refuse(path, f"is {_BY_PILLOW[int(first.compression)]} and marked as mirrored or turned; write MRC")
            self.voxel_size = voxel_size or edge_length(path, voxel_sizes(tiff))
            self._calibration = _calibration(tiff)
            self._white_is_zero = int(first.photometric) == _WHITE_IS_ZERO
            self.notes = [
                *_on_photometry(self._white_is_zero),
                *_on_calibration(self._calibration),
                *_on_orientation(first),
            ]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the voxels out: a worker process reads them itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_voxels"}

    def _read(self, region: Region) -> np.ndarray:
        if self._offset is None:
            part = self._voxels[region]
        else:
            part = np.memmap(self.path, self._dtype, "r", self._offset, self.shape)[region]
        return part if self._calibration is None else self._calibration[0] + self._calibration[1] * part

    @cached_property
    def _voxels(self) -> np.ndarray:
        voxels = self._unpacked_by_pillow() if self._by_pillow else self._unpacked()
        if voxels.size != math.prod(self.shape):
            refuse(self.path, f"has sections that do not make {times(self.shape)} voxels; copy or export it again")
        return voxels.reshape(self.shape)

    def _unpacked(self) -> np.ndarray:
        with _opened(self.path) as tiff:
            return np.asarray(_series(self.path, tiff).asarray())

    def _unpacked_by_pillow(self) -> np.ndarray:
        from PIL import Image, ImageSequence

        with guarded(self.path, "a TIFF stack"), Image.open(self.path, formats=["TIFF"]) as image:
            inverted = image.mode == "L" and self._white_is_zero
            sections = np.stack([np.array(page) for page in ImageSequence.Iterator(image)])
        if sections.dtype.itemsize > 1:
            return sections.astype(self._dtype.newbyteorder("="))
        return (255 - sections if inverted else sections).view(self._dtype)  # Pillow inverts, at 8 bits only


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """Open a file by tifffile, which looks into no other and whose complaints become one line."""
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    _check_chain(path)
    with guarded(path, "a TIFF stack"), tifffile.TiffFile(path, _multifile=False) as tiff:
        yield tiff


def _check_chain(path: str) -> None:
    """Raise `DataError` where the chain of pages is broken, so that sections would be missing, or is a circle."""
    size = os.path.getsize(path)
    with one_line(path, "a TIFF stack"), open(path, "rb") as stream:
        order, magic = stream.read(2), stream.read(2)
        sign = ">" if order == b"MM" else "<"
        big = magic in (b"+\0", b"\0+")
        count_format, place_format, entry = (f"{sign}Q", f"{sign}Q", 20) if big else (f"{sign}H", f"{sign}I", 12)
        at = _unpacked_at(stream, 8 if big else 4, place_format)
        seen: set[int] = set()
        while at:
            if at in seen:
                refuse(path, "has pages that follow each other in a circle; copy or export it again")
            if at >= size:
                refuse(path, f"is truncated (a page begins at byte {at:,} of {size:,}); copy or export it again")
            seen.add(at)
            count = _unpacked_at(stream, at, count_format)
            at = _unpacked_at(stream, at + struct.calcsize(count_format) + entry * count, place_format)


def _unpacked_at(stream: BinaryIO, offset: int, form: str) -> int:
    """Return the number at an offset, 0 beyond the end."""
    stream.seek(min(offset, 2**62))
    raw = stream.read(struct.calcsize(form))
    return int(struct.unpack(form, raw)[0]) if len(raw) == struct.calcsize(form) else 0


def _series(path: str, tiff: Any) -> Any:
    """Return the only image of a file; raise `DataError` where there are several, or it is not one of greys."""
    if not tiff.pages or not tiff.series:
        refuse(path, "holds no image; copy or export it again")
    series = tiff.series[0]
    first = series.keyframe
    if int(first.photometric) not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) or int(first.samplesperpixel) != 1:
        refuse(path, f"is a picture of mode {first.photometric.name}, not a stack of grey sections; convert it to MRC")
    if len(tiff.series) > 1:
        sizes = " and ".join(times(each.shape) for each in tiff.series[:2])
        refuse(path, f"holds {len(tiff.series)} images of several sizes or types ({sizes}); write one stack as MRC")
    return series


def _shape(path: str, series: Any) -> Box:
    """Return the size z, y, x of an image of which one axis beside those of a section may be long."""
    axes, shape = series.axes, series.shape
    other = [edge for axis, edge in zip(axes, shape, strict=True) if axis not in _PLANE and edge > 1]
    if tuple(axes[-2:]) != _PLANE or len(other) > 1:
        refuse(path, f"holds {times(shape)} values along {axes}, not one volume; write the one to be used as MRC")
    if not other:
        refuse(path, "holds a single section, not a tomogram; give a stack with a page for each section")
    return other[0], shape[-2], shape[-1]


def _offset(path: str, tiff: Any, series: Any) -> int | None:
    """Return where the voxels begin, if they lie uncompressed in one piece."""
    needed = math.prod(series.shape) * series.dtype.itemsize
    size = os.path.getsize(path)
    first = series.keyframe
    if int(first.compression) == 1:
        if needed > size:
            refuse(path, f"is truncated ({size:,} bytes, of which voxels need {needed:,}); copy or export it again")
        return _checked(path, series.dataoffset, needed, size)
    if needed > min(_MOST_UNPACKED, _DENSEST * size):
        refuse(path, f"is compressed, and has {times(series.shape)} voxels by its tags; convert it to MRC")
    return None


def _checked(path: str, offset: int | None, needed: int, size: int) -> int | None:
    if offset is not None and offset + needed > size:
        refuse(path, f"is truncated ({size:,} of {offset + needed:,} bytes); copy or export it again")
    return offset


def _calibration(tiff: Any) -> tuple[float, float] | None:
    """Return ImageJ's c0 and c1, of which value = c0 + c1 × number: so it writes signed integers of 16 bits."""
    told = tiff.imagej_metadata or {}
    values = [told.get(name) for name in ("c0", "c1")]
    c0, c1 = (float(each) if isinstance(each, int | float) else math.nan for each in values)
    return (c0, c1) if told.get("cf") == 0 and math.isfinite(c0) and math.isfinite(c1) else None


def _on_calibration(calibration: tuple[float, float] | None) -> list[str]:
    if calibration is None:
        return []
    return [f"is calibrated by ImageJ: value = {calibration[0]:g} + {calibration[1]:g} × number"]


def _on_orientation(page: Any) -> list[str]:
    """Return a note on pages that are marked as mirrored or turned, which no program of the field looks at."""
    tag = page.tags.get("Orientation")
    if tag is None or int(tag.value) == _TOP_LEFT:
        return []
    return [f"is marked as mirrored or turned (Orientation {int(tag.value)}); rows and columns are taken as stored"]


def _on_photometry(white_is_zero: bool) -> list[str]:
    if not white_is_zero:
        return []
    return [
        "is marked WhiteIsZero; its numbers are taken as stored, at every depth, so that what a viewer draws dark is a "
        "large number"
    ]
