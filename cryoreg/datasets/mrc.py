"""One MRC file, read-only, with the checks that mrcfile leaves out."""

from __future__ import annotations

import bz2
import gzip
import math
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn, cast

import mrcfile
import numpy as np
from mrcfile.constants import MAP_ID
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import byte_order_from_machine_stamp, dtype_from_mode

from cryoreg.contracts import Box
from cryoreg.errors import DataError

_HEADERS = {order: HEADER_DTYPE.newbyteorder(order) for order in "<>"}
_OPENERS = {".gz": gzip.open, ".bz2": bz2.open}
_XYZ = [1, 2, 3]
_VOLUME_STACKS = range(401, 631)
_IMOD = 1146047817
_COMPLEX = (3, 4)
_KNOWN_MODES = range(13)
_PLAUSIBLE = (1e-30, 1e15)
"""Between these lies the largest absolute voxel of any density; floats in the wrong byte order fall outside."""
_TEAR = 2
"""A wrong sign or byte order spreads integers at least this many times wider than the right one."""


class MrcHeader(NamedTuple):
    """What a header says about a volume."""

    box: Box
    """(D, H, W) = voxels along z, y, x."""
    voxel_sizes: tuple[float, float, float] | None
    """Å along x, y, z; None where the header does not say."""
    axes: tuple[int, int, int]
    """The stored axes that are z, y and x."""
    limits: tuple[float, float]
    """The smallest and largest voxel as the header claims; often stale or unset."""
    signed_bytes: bool | None
    """IMOD's note on mode 0; None where another program wrote the file."""


def read_header(path: str | Path) -> MrcHeader:
    """Return the header of a volume; raise `DataError` where it is not a whole MRC volume. Reads no voxels."""
    with _one_line(path):
        with _open(path) as stream:
            raw = stream.read(HEADER_DTYPE.itemsize)
            size = None if _compressed(path) else os.fstat(stream.fileno()).st_size
        return _parse(path, raw, size)


def read_volume(path: str | Path) -> np.ndarray:
    """Return the voxels, float32 (D, H, W) in the order z, y, x; raise `DataError` where they cannot be right.

    Complex, constant, non-finite and byte-swapped volumes are refused. Bytes (mode 0) are signed unless the header
    says otherwise, and refused where it does not and they look wrapped.
    """
    header = read_header(path)
    with _one_line(path), mrcfile.open(path) as file:
        data = _signed_or_unsigned(path, header, file.data)
        _check_voxels(path, header, data)
        return np.array(data.transpose(header.axes), dtype=np.float32, order="C")


@contextmanager
def _one_line(path: str | Path) -> Iterator[None]:
    """Turn whatever reading raises into a `DataError` of one line."""
    try:
        yield
    except FileNotFoundError:
        _refuse(path, "does not exist (or is a broken link); check the path")
    except PermissionError:
        _refuse(path, "may not be read; ask its owner for permission (chmod +r)")
    except IsADirectoryError:
        _refuse(path, "is a folder, not an MRC file; move or rename it")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        _refuse(path, f"cannot be read ({' '.join(str(error).split())}); copy or export it again")


def _refuse(path: str | Path, reason: str) -> NoReturn:
    raise DataError(f"{path}: {reason}") from None


def _compressed(path: str | Path) -> bool:
    return _extension(path) in _OPENERS


def _extension(path: str | Path) -> str:
    return os.path.splitext(path)[1].lower()


def _open(path: str | Path) -> BinaryIO:
    opener = cast(Callable[..., Any], _OPENERS.get(_extension(path), open))
    return cast(BinaryIO, opener(path, "rb"))


def _parse(path: str | Path, raw: bytes, size: int | None) -> MrcHeader:
    if not raw:
        _refuse(path, "is empty; copy or export it again")
    if raw[208:211] != MAP_ID[:3] or len(raw) < HEADER_DTYPE.itemsize:
        _refuse(path, "is not an MRC file (no 'MAP' at byte 208); convert it to MRC2014 or remove it")
    order = byte_order_from_machine_stamp(raw[212:216])
    fields = np.frombuffer(raw, _HEADERS[order])[0]
    voxel_bytes = _voxel_bytes(path, fields["mode"])
    stored = _stored_shape(path, fields)
    _check_size(path, size, HEADER_DTYPE.itemsize + int(fields["nsymbt"]) + voxel_bytes * math.prod(stored))
    axes = _axes(fields)
    return MrcHeader(
        box=(stored[axes[0]], stored[axes[1]], stored[axes[2]]),
        voxel_sizes=_voxel_sizes(fields),
        axes=axes,
        limits=(float(fields["dmin"]), float(fields["dmax"])),
        signed_bytes=_signed_bytes(raw, order),
    )


def _voxel_bytes(path: str | Path, mode: np.int32) -> int:
    if mode in _COMPLEX:
        _refuse(path, "holds complex numbers (a Fourier transform); transform it back to real space")
    try:
        return np.dtype(dtype_from_mode(mode)).itemsize
    except ValueError:
        if int(mode.byteswap()) in _KNOWN_MODES:
            _refuse(
                path, "has a machine stamp that contradicts its byte order; correct bytes 213 and 214 of the header"
            )
        _refuse(path, f"has MRC mode {mode}, which is not supported; convert it to mode 2 (float32)")


def _stored_shape(path: str | Path, fields: np.void) -> Box:
    shape = (int(fields["nz"]), int(fields["ny"]), int(fields["nx"]))
    size = "×".join(map(str, shape))
    if min(shape) < 1 or int(fields["nsymbt"]) < 0:
        _refuse(path, f"has a damaged header (size {size}); copy or export it again")
    if shape[0] == 1:
        _refuse(path, f"is a 2D image ({size}), not a volume; remove it")
    if int(fields["ispg"]) in _VOLUME_STACKS:
        _refuse(path, "is a stack of volumes; write one file for each volume")
    if int(fields["ispg"]) == 0 and int(fields["mz"]) == 1:
        _refuse(path, "is a stack of images, not a volume; if it is a volume, set its header's space group to 1")
    return shape


def _check_size(path: str | Path, size: int | None, expected: int) -> None:
    if size is None or size == expected:
        return
    if size < expected:
        _refuse(path, f"is truncated ({size:,} of {expected:,} bytes); copy or export it again")
    _refuse(path, f"has {size - expected:,} bytes more than its header tells of; export it again")


def _axes(fields: np.void) -> tuple[int, int, int]:
    stored = [int(fields["maps"]), int(fields["mapr"]), int(fields["mapc"])]
    if sorted(stored) != _XYZ:  # many programs leave zeros here
        return (0, 1, 2)
    return (stored.index(3), stored.index(2), stored.index(1))


def _voxel_sizes(fields: np.void) -> tuple[float, float, float] | None:
    cell = [float(fields["cella"][axis]) for axis in "xyz"]
    intervals = [int(fields[name]) for name in ("mx", "my", "mz")]
    if min(intervals) < 1 or not all(0 < length < math.inf for length in cell):
        return None
    x, y, z = (length / count for length, count in zip(cell, intervals, strict=True))
    return x, y, z


def _signed_bytes(raw: bytes, order: str) -> bool | None:
    stamp, flags = np.frombuffer(raw, f"{order}i4", count=2, offset=152)
    return bool(flags & 1) if stamp == _IMOD else None


def _signed_or_unsigned(path: str | Path, header: MrcHeader, data: np.ndarray) -> np.ndarray:
    if data.dtype != np.int8 or header.signed_bytes:
        return data
    unsigned = data.view(np.uint8)
    if header.signed_bytes is False:
        return unsigned
    if _torn(header, data, unsigned):
        if _limits(unsigned) == header.limits:
            return unsigned
        _refuse(path, "holds bytes that look unsigned, but its header does not say so; convert it to mode 1 (int16)")
    return data


def _check_voxels(path: str | Path, header: MrcHeader, data: np.ndarray) -> None:
    low, high = _limits(data)
    if low == high:
        _refuse(path, f"is constant (every voxel is {low:g}); remove it or extract it again")
    if _swapped(header, data):
        _refuse(path, "has its voxels' bytes in the wrong order; swap them or export it again")
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = np.count_nonzero(~np.isfinite(data))
        _refuse(path, f"holds NaN or infinite voxels ({bad:,} of {data.size:,}); remove it or extract it again")
    if not _plausible(low, high):
        _refuse(path, f"holds values from {low:.3g} to {high:.3g}, which no density has; export it again")


def _swapped(header: MrcHeader, data: np.ndarray) -> bool:
    if data.dtype.kind == "f":
        return not _plausible(*_limits(data)) and _plausible(*_limits(data.byteswap()))
    return data.dtype.itemsize > 1 and _torn(header, data, data.byteswap())


def _plausible(low: float, high: float) -> bool:
    return _PLAUSIBLE[0] < max(-low, high) < _PLAUSIBLE[1]


def _torn(header: MrcHeader, integers: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether ``other`` is the right reading, by the header's limits or else by its far smaller spread."""
    for reading, answer in ((integers, False), (other, True)):
        if _limits(reading) == header.limits:
            return answer
    return bool(integers.std() > _TEAR * other.std())


def _limits(data: np.ndarray) -> tuple[float, float]:
    with np.errstate(invalid="ignore"):
        return float(data.min()), float(data.max())
