"""What the first 1,024 bytes of an MRC file say; where a program wrote them wrongly, what the file's size tells."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from mrcfile.constants import MAP_ID
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import byte_order_from_machine_stamp, dtype_from_mode

from cryoreg.datasets.io.volume_files import check_count, refuse, times
from cryoreg.datasets.io.voxel_sizes import same_size

if TYPE_CHECKING:
    from cryoreg.contracts import Box

HEADER_BYTES = HEADER_DTYPE.itemsize
_HEADERS = {order: HEADER_DTYPE.newbyteorder(order) for order in "<>"}
_ORDERS = {"<": "little", ">": "big"}
_XYZ = [1, 2, 3]
_VOLUME_STACKS = range(401, 631)
_IMOD = 1146047817
_COMPLEX = (3, 4)
_KNOWN_MODES = (*range(13), 16, 101)
_NOT_READ = {16: "colours", 101: "integers of 4 bits"}
_LONGEST_EDGE = 2**20
_MOST_UNPACKED = 2**30
"""Bytes of a compressed volume, which can claim any size: more than boxes have, and far less than the memory."""
_FINEST = 0.9
"""Å: subtomograms with smaller voxels are rarer than headers in nm."""


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
    limits: tuple[float, float] | None
    """The smallest and largest voxel as the header claims, often stale; None where it does not."""
    signed_bytes: bool | None
    """IMOD's note on mode 0; None where another program wrote the file."""
    dtype: np.dtype
    offset: int
    """Bytes before the first voxel."""
    stored: Box
    """Sections, rows and columns of each volume."""
    notes: tuple[str, ...] = ()
    """What is wrong with the header, and was read in spite of it."""
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Where the first voxel lies along z, y and x, Å: ORIGIN, or where that is 0, NSTART in voxels."""

    @property
    def volume_bytes(self) -> int:
        """The size of one volume."""
        return self.dtype.itemsize * math.prod(self.stored)


def looks_like_mrc(raw: bytes, size: int | None) -> bool:
    """Tell whether a file of ``size`` bytes (None: compressed) that begins with ``raw`` is MRC."""
    return len(raw) >= HEADER_BYTES and (raw[208:211] == MAP_ID[:3] or bool(size and _exact(raw, size)))


def calls_itself_stack(path: str | Path, raw: bytes, size: int | None) -> bool:
    """Tell whether a header says that its file is a stack, of volumes or of images."""
    fields, _, _ = _fields(path, raw, size)
    return _volume_stack(fields) or _image_stack(fields)


def parse(
    path: str | Path, raw: bytes, size: int | None, stack: bool, edge: int | None, images: bool = False
) -> MrcHeader:
    """Return what a header says; raise `DataError` where the file is no whole MRC volume, or stack of them.

    With ``images`` its sections are images, whatever the header calls them.
    """
    fields, order, notes = _fields(path, raw, size)
    dtype = np.dtype(order + _voxel_type(path, fields["mode"]).str[1:])
    shape = _stored_shape(path, fields)
    if images:
        sections = shape[0]
    else:
        sections = _sections_of_each(path, fields, shape, edge) if stack else _all_sections(path, fields, shape)
    offset = _offset(path, fields, size, dtype.itemsize * math.prod(shape), notes)
    axes = _axes(fields, notes)
    stored = (sections, *shape[1:])
    check_count(path, shape[0] // sections)
    if size is None and dtype.itemsize * math.prod(stored) > _MOST_UNPACKED:
        refuse(path, f"is compressed, and has volumes of {times(stored)} voxels by its header; unpack it (gunzip)")
    flat = images or (edge is not None and not _volume_stack(fields))
    voxel_sizes = _voxel_sizes(fields, flat, stored, axes, notes)
    return MrcHeader(
        box=(stored[axes[0]], stored[axes[1]], stored[axes[2]]),
        volumes=shape[0] // sections,
        voxel_sizes=voxel_sizes,
        axes=axes,
        limits=_limits(fields),
        signed_bytes=_signed_bytes(raw, order),
        dtype=dtype,
        offset=offset,
        stored=stored,
        notes=tuple(notes),
        origin=_origin(fields, voxel_sizes, axes),
    )


def _fields(path: str | Path, raw: bytes, size: int | None) -> tuple[np.void, str, list[str]]:
    """Return the header's fields, its byte order, and what had to be worked out for that."""
    if not raw:
        refuse(path, "is empty; copy or export it again")
    if not looks_like_mrc(raw, size):
        refuse(path, "is not an MRC file (no 'MAP' at byte 208); convert it to MRC2014 or remove it")
    notes = [] if raw[208:211] == MAP_ID[:3] else ["lacks the word 'MAP' at byte 208; its size is that of an MRC file"]
    order = _byte_order(path, raw, size, notes)
    return np.frombuffer(raw, _HEADERS[order], count=1)[0], order, notes


def _byte_order(path: str | Path, raw: bytes, size: int | None, notes: list[str]) -> str:
    """Return the order by the machine stamp, unless mode and size of the file contradict it."""
    fitting = sorted((order for order in "<>" if _fits(raw, order, size)), key=lambda order: _voxels(raw, order))
    stamp = raw[212:216]
    try:
        told = byte_order_from_machine_stamp(stamp)
    except ValueError:
        told = None
    if told in fitting or (told and not fitting):
        return str(told)
    written = " ".join(f"{byte:02x}" for byte in stamp)
    if not fitting:
        refuse(
            path, f"has no known machine stamp ({written}), nor a size that fits its header; copy or export it again"
        )
    what = "a machine stamp that contradicts its size and mode" if told else "no known machine stamp"
    notes.append(f"has {what} ({written}), and is read as {_ORDERS[fitting[0]]}-endian, as its size and mode tell")
    return fitting[0]


def _voxels(raw: bytes, order: str) -> int:
    """Return how many voxels a header tells of, read in an order; the wrong one makes small edges huge."""
    fields = np.frombuffer(raw, _HEADERS[order], count=1)[0]
    return math.prod(int(fields[name]) for name in ("nx", "ny", "nz"))


def _data_bytes(raw: bytes, order: str) -> tuple[int, int] | None:
    """Return the bytes of the voxels and of the extended header, read in an order; None where it cannot be so."""
    fields = np.frombuffer(raw, _HEADERS[order], count=1)[0]
    edges = [int(fields[name]) for name in ("nx", "ny", "nz")]
    mode = int(fields["mode"])
    if mode not in _KNOWN_MODES or not all(0 < edge <= _LONGEST_EDGE for edge in edges):
        return None
    try:
        return dtype_from_mode(mode).itemsize * math.prod(edges), int(fields["nsymbt"])
    except ValueError:
        return 0, int(fields["nsymbt"])


def _fits(raw: bytes, order: str, size: int | None) -> bool:
    told = _data_bytes(raw, order)
    return told is not None and (size is None or size >= HEADER_BYTES + told[0])


def _exact(raw: bytes, size: int) -> bool:
    told = [found for order in "<>" if (found := _data_bytes(raw, order))]
    return any(
        voxels and size in (HEADER_BYTES + voxels, HEADER_BYTES + extended + voxels) for voxels, extended in told
    )


def _voxel_type(path: str | Path, mode: np.int32) -> np.dtype:
    if mode in _COMPLEX:
        refuse(path, "holds complex numbers (a Fourier transform); transform it back to real space")
    try:
        return np.dtype(dtype_from_mode(mode))
    except ValueError:
        what = f" ({_NOT_READ[int(mode)]})" if int(mode) in _NOT_READ else ""
        refuse(path, f"has MRC mode {mode}{what}, which is not supported; convert it to mode 2 (float32)")


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
        refuse(
            path,
            f"has {times(shape)} voxels (z, y, x), no whole number of {edge}³ boxes; check the box, "
            "and whether these are 2D images",
        )
    return edge


def _offset(path: str | Path, fields: np.void, size: int | None, voxels: int, notes: list[str]) -> int:
    """Return the bytes before the voxels; an extended header for which the file is too short is not there."""
    extended = int(fields["nsymbt"])
    expected = HEADER_BYTES + extended + voxels
    if size is None or size == expected:
        return HEADER_BYTES + extended
    if size == HEADER_BYTES + voxels:
        notes.append(f"tells of an extended header of {extended:,} bytes (NSYMBT) that is not there, by its size")
        return HEADER_BYTES
    if size < expected:
        refuse(path, f"is truncated ({size:,} of {expected:,} bytes); copy or export it again")
    refuse(path, f"has {size - expected:,} bytes more than its header tells of; export it again")


def _axes(fields: np.void, notes: list[str]) -> tuple[int, int, int]:
    stored = [int(fields["maps"]), int(fields["mapr"]), int(fields["mapc"])]
    if sorted(stored) != _XYZ:
        if any(stored):  # many programs leave zeros here
            notes.append(f"has MAPC, MAPR, MAPS {stored[::-1]}, no order of x, y, z; [1, 2, 3] is taken")
        return (0, 1, 2)
    return (stored.index(3), stored.index(2), stored.index(1))


def _voxel_sizes(
    fields: np.void, images: bool, stored: Box, axes: tuple[int, int, int], notes: list[str]
) -> tuple[float, float, float] | None:
    """Return Å along x, y, z; what programs write along z of ``images`` means nothing, so that of y stands for it."""
    used = "xyy" if images else "xyz"
    cell = [float(fields["cella"][axis]) for axis in used]
    intervals = [int(fields[f"m{axis}"]) for axis in used]
    if min(intervals) < 1 or not all(0 < length < math.inf for length in cell):
        return None
    sizes = _divided(cell, intervals)
    voxels = [stored[axes["zyx".index(axis)]] for axis in used]
    if not _cubes(sizes) and _cubes(_divided(cell, voxels)):
        notes.append(f"has MX, MY, MZ {intervals} that make no cubes of its cell; its size {voxels} does, and is taken")
        sizes = _divided(cell, voxels)
    if max(sizes) < _FINEST:
        notes.append(f"has voxels of {max(sizes):.4g} Å by its header, which may be nm; if so, say the voxel size")
    return sizes


def _origin(
    fields: np.void, voxel_sizes: tuple[float, float, float] | None, axes: tuple[int, int, int]
) -> tuple[float, float, float]:
    """Return where the first voxel lies along z, y, x, Å, as ChimeraX reads it; 0 where that is no number."""
    told = [float(fields["origin"][axis]) for axis in "zyx"]
    if not any(told) and voxel_sizes is not None:
        starts = [int(fields[f"n{axis}start"]) for axis in "zyx"]
        told = [starts[axis] * size for axis, size in zip(axes, reversed(voxel_sizes), strict=True)]
    z, y, x = (place if math.isfinite(place) else 0.0 for place in told)
    return z, y, x


def _divided(cell: list[float], counts: list[int]) -> tuple[float, float, float]:
    x, y, z = (length / count for length, count in zip(cell, counts, strict=True))
    return x, y, z


def _cubes(sizes: tuple[float, float, float]) -> bool:
    return same_size(min(sizes), max(sizes))


def _limits(fields: np.void) -> tuple[float, float] | None:
    """Return the smallest and largest voxel; None where they are not set, as DMAX <= DMIN says."""
    low, high = float(fields["dmin"]), float(fields["dmax"])
    return (low, high) if -math.inf < low < high < math.inf else None


def _signed_bytes(raw: bytes, order: str) -> bool | None:
    stamp, flags = np.frombuffer(raw, f"{order}i4", count=2, offset=152)
    return bool(flags & 1) if stamp == _IMOD else None
