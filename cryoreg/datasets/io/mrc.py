"""One MRC file, a volume or a stack of them, read-only, with the checks that mrcfile leaves out."""

from __future__ import annotations

import bz2
import gzip
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np
from mrcfile.constants import MAP_ID
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import byte_order_from_machine_stamp, dtype_from_mode

from cryoreg.datasets.io.volume_files import check_voxels, limits, name_of_slot, one_line, plausible, refuse, times

if TYPE_CHECKING:
    from cryoreg.contracts import Box

_HEADERS = {order: HEADER_DTYPE.newbyteorder(order) for order in "<>"}
_OPENERS = {".gz": gzip.open, ".bz2": bz2.open}
_XYZ = [1, 2, 3]
_VOLUME_STACKS = range(401, 631)
_IMOD = 1146047817
_COMPLEX = (3, 4)
_KNOWN_MODES = range(13)
_MOST_UNPACKED = 2**30
"""Bytes of a compressed volume, which can claim any size: more than boxes have, and far less than the memory."""
_TEAR = 2
"""A wrong sign or byte order spreads integers at least this many times wider than the right one."""


class MrcHeader(NamedTuple):
    """What a header says about the volumes of a file."""

    box: Box
    """(D, H, W) = voxels along z, y, x."""
    volumes: int
    """Volumes in the file."""
    voxel_sizes: tuple[float, float, float] | None
    """Å along x, y, z; None where the header does not say."""
    axes: tuple[int, int, int]
    """The stored axes that are z, y and x."""
    limits: tuple[float, float]
    """The smallest and largest voxel as the header claims; often stale or unset."""
    signed_bytes: bool | None
    """IMOD's note on mode 0; None where another program wrote the file."""
    dtype: np.dtype
    offset: int
    """Bytes before the first voxel."""
    stored: Box
    """Sections, rows and columns of each volume."""

    @property
    def volume_bytes(self) -> int:
        """The size of one volume."""
        return self.dtype.itemsize * math.prod(self.stored)


def read_header(path: str | Path, stack: bool = False, edge: int | None = None) -> MrcHeader:
    """Return the header of a volume; raise `DataError` where it is not a whole MRC volume. Reads no voxels.

    With ``stack`` the file may hold any number of volumes: it is a volume stack of MRC2014, or, where ``edge`` is
    given, a series of images that is cut into cubes of so many sections.
    """
    with one_line(path, "an MRC file"):
        with _open(path) as stream:
            raw = stream.read(HEADER_DTYPE.itemsize)
            size = None if compressed(path) else os.fstat(stream.fileno()).st_size
        return _parse(path, raw, size, stack, edge)


def is_stack(path: str | Path) -> bool:
    """Tell whether a file's header calls it a stack, of volumes or of images."""
    with one_line(path, "an MRC file"), _open(path) as stream:
        fields, _ = _fields(path, stream.read(HEADER_DTYPE.itemsize))
    return _volume_stack(fields) or _image_stack(fields)


def read_volume(path: str | Path) -> np.ndarray:
    """Return the voxels, float32 (D, H, W) in the order z, y, x; raise `DataError` where they cannot be right.

    Complex, constant, non-finite and byte-swapped volumes are refused. Bytes (mode 0) are signed unless the header
    says otherwise, and refused where it does not and they look wrapped.
    """
    return _read(path, read_header(path))


def read_slot(path: str | Path, slot: int, edge: int | None = None) -> np.ndarray:
    """Return volume ``slot``, counted from 0, of a stack, as `read_volume` does; other volumes are not read."""
    header = read_header(path, stack=True, edge=edge)
    if not 0 <= slot < header.volumes:
        refuse(path, f"has no slot {slot} (counted from 0), as it holds {header.volumes} volumes; check the list")
    return _read(path, header, slot)


def _read(path: str | Path, header: MrcHeader, slot: int | None = None) -> np.ndarray:
    with one_line(path, "an MRC file"):
        stored = np.frombuffer(_bytes(path, header, slot or 0), header.dtype).reshape(header.stored)
    where = name_of_slot(str(path), slot)
    data = _signed_or_unsigned(where, header, stored)
    if _swapped(header, data):
        refuse(where, "has its voxels' bytes in the wrong order; swap them or export it again")
    check_voxels(where, data)
    return np.array(data.transpose(header.axes), dtype=np.float32, order="C")


def _bytes(path: str | Path, header: MrcHeader, slot: int) -> bytes:
    with _open(path) as stream:
        stream.seek(header.offset + slot * header.volume_bytes)
        raw = stream.read(header.volume_bytes)
        if compressed(path) and slot == header.volumes - 1 and stream.read(1):  # which also checks gzip's checksum
            raise ValueError("it holds more than its header tells of")
    if len(raw) < header.volume_bytes:
        raise EOFError("it ends early")
    return raw


def compressed(path: str | Path) -> bool:
    """Tell whether a file is compressed, by its name."""
    return _extension(path) in _OPENERS


def _extension(path: str | Path) -> str:
    return os.path.splitext(path)[1].lower()


def _open(path: str | Path) -> BinaryIO:
    opener = cast(Callable[..., Any], _OPENERS.get(_extension(path), open))
    return cast(BinaryIO, opener(path, "rb"))


def _fields(path: str | Path, raw: bytes) -> tuple[np.void, str]:
    """Return the header's fields and its byte order."""
    if not raw:
        refuse(path, "is empty; copy or export it again")
    if raw[208:211] != MAP_ID[:3] or len(raw) < HEADER_DTYPE.itemsize:
        refuse(path, "is not an MRC file (no 'MAP' at byte 208); convert it to MRC2014 or remove it")
    order = byte_order_from_machine_stamp(raw[212:216])
    return np.frombuffer(raw, _HEADERS[order])[0], order


def _parse(path: str | Path, raw: bytes, size: int | None, stack: bool, edge: int | None) -> MrcHeader:
    fields, order = _fields(path, raw)
    dtype = np.dtype(order + _voxel_type(path, fields["mode"]).str[1:])
    shape = _stored_shape(path, fields)
    sections = _sections_of_each(path, fields, shape, edge) if stack else _all_sections(path, fields, shape)
    offset = HEADER_DTYPE.itemsize + int(fields["nsymbt"])
    _check_size(path, size, offset + dtype.itemsize * math.prod(shape))
    axes = _axes(fields)
    stored = (sections, *shape[1:])
    if size is None and dtype.itemsize * math.prod(stored) > _MOST_UNPACKED:
        refuse(path, f"is compressed, and has volumes of {times(stored)} voxels by its header; unpack it (gunzip)")
    return MrcHeader(
        box=(stored[axes[0]], stored[axes[1]], stored[axes[2]]),
        volumes=shape[0] // sections,
        voxel_sizes=_voxel_sizes(fields, images=edge is not None and not _volume_stack(fields)),
        axes=axes,
        limits=(float(fields["dmin"]), float(fields["dmax"])),
        signed_bytes=_signed_bytes(raw, order),
        dtype=dtype,
        offset=offset,
        stored=stored,
    )


def _voxel_type(path: str | Path, mode: np.int32) -> np.dtype:
    if mode in _COMPLEX:
        refuse(path, "holds complex numbers (a Fourier transform); transform it back to real space")
    try:
        return np.dtype(dtype_from_mode(mode))
    except ValueError:
        if int(mode.byteswap()) in _KNOWN_MODES:
            refuse(path, "has a machine stamp that contradicts its byte order; correct bytes 213 and 214 of the header")
        refuse(path, f"has MRC mode {mode}, which is not supported; convert it to mode 2 (float32)")


def _stored_shape(path: str | Path, fields: np.void) -> Box:
    shape = (int(fields["nz"]), int(fields["ny"]), int(fields["nx"]))
    if min(shape) < 1 or int(fields["nsymbt"]) < 0:
        refuse(path, f"has a damaged header (size {times(shape)}); copy or export it again")
    if shape[0] == 1:
        refuse(path, f"is a 2D image ({times(shape)}), not a volume; remove it")
    return shape


def _volume_stack(fields: np.void) -> bool:
    return int(fields["ispg"]) in _VOLUME_STACKS


def _image_stack(fields: np.void) -> bool:
    return int(fields["ispg"]) == 0 and int(fields["mz"]) == 1


def _all_sections(path: str | Path, fields: np.void, shape: Box) -> int:
    if _volume_stack(fields):
        refuse(path, "is a stack of volumes; read it with --dataset mrc_stack, or write one file for each volume")
    if _image_stack(fields):
        refuse(path, "is a stack of images, not a volume; if it is a volume, set its header's space group to 1")
    return shape[0]


def _sections_of_each(path: str | Path, fields: np.void, shape: Box, edge: int | None) -> int:
    """Return how many sections each volume of a stack has."""
    if _volume_stack(fields):
        return _sections_by_header(path, fields, shape, edge)
    if edge is not None:
        return _sections_by_edge(path, shape, edge)
    if _image_stack(fields) or len(set(shape)) > 1:
        images = f"{shape[0]} images of {times(shape[1:])}"
        refuse(path, f"is a series of {images}, not marked as volumes; say --set dataset.box=<edge in voxels>")
    return shape[0]


def _sections_by_header(path: str | Path, fields: np.void, shape: Box, edge: int | None) -> int:
    sections = int(fields["mz"])
    if sections < 1 or shape[0] % sections:
        refuse(path, f"has {shape[0]} sections, no whole number of volumes of {sections}; export it again")
    if sections == 1:
        refuse(path, "is a stack of volumes of a single section each, hence of images; remove it")
    if edge not in (None, sections):
        refuse(path, f"holds volumes of {sections} sections by its header, not of {edge}; leave out dataset.box")
    return sections


def _sections_by_edge(path: str | Path, shape: Box, edge: int) -> int:
    if set(shape[1:]) != {edge} or shape[0] % edge:
        refuse(path, f"has {times(shape)} voxels (z, y, x), no whole number of {edge}³ boxes; check dataset.box")
    return edge


def _check_size(path: str | Path, size: int | None, expected: int) -> None:
    if size is None or size == expected:
        return
    if size < expected:
        refuse(path, f"is truncated ({size:,} of {expected:,} bytes); copy or export it again")
    refuse(path, f"has {size - expected:,} bytes more than its header tells of; export it again")


def _axes(fields: np.void) -> tuple[int, int, int]:
    stored = [int(fields["maps"]), int(fields["mapr"]), int(fields["mapc"])]
    if sorted(stored) != _XYZ:  # many programs leave zeros here
        return (0, 1, 2)
    return (stored.index(3), stored.index(2), stored.index(1))


def _voxel_sizes(fields: np.void, images: bool) -> tuple[float, float, float] | None:
    """Return Å along x, y, z; what programs write along z of ``images`` means nothing, so that of y stands for it."""
    used = "xyy" if images else "xyz"
    cell = [float(fields["cella"][axis]) for axis in used]
    intervals = [int(fields[f"m{axis}"]) for axis in used]
    if min(intervals) < 1 or not all(0 < length < math.inf for length in cell):
        return None
    x, y, z = (length / count for length, count in zip(cell, intervals, strict=True))
    return x, y, z


def _signed_bytes(raw: bytes, order: str) -> bool | None:
    stamp, flags = np.frombuffer(raw, f"{order}i4", count=2, offset=152)
    return bool(flags & 1) if stamp == _IMOD else None


def _signed_or_unsigned(where: str, header: MrcHeader, data: np.ndarray) -> np.ndarray:
    if data.dtype != np.int8 or header.signed_bytes:
        return data
    unsigned = data.view(np.uint8)
    if header.signed_bytes is False:
        return unsigned
    if _torn(header, data, unsigned):
        if _confirmed(header, unsigned):
            return unsigned
        refuse(where, "holds bytes that look unsigned, but its header does not say so; convert it to mode 1 (int16)")
    return data


def _swapped(header: MrcHeader, data: np.ndarray) -> bool:
    if data.dtype.kind == "f":
        return not plausible(*limits(data)) and plausible(*limits(data.byteswap()))
    return data.dtype.itemsize > 1 and _torn(header, data, data.byteswap())


def _torn(header: MrcHeader, integers: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether ``other`` is the right reading, by the header's limits or else by its far smaller spread."""
    for reading, answer in ((integers, False), (other, True)):
        if _confirmed(header, reading):
            return answer
    return bool(integers.std() > _TEAR * other.std())


def _confirmed(header: MrcHeader, reading: np.ndarray) -> bool:
    """Tell whether a reading has the limits that the header states; one of many volumes lies between them."""
    low, high = limits(reading)
    if header.volumes == 1:
        return (low, high) == header.limits
    return header.limits[0] <= low and high <= header.limits[1]
