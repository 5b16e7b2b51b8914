"""Whether whole numbers in an MRC file are signed, and in which order their bytes lie: one rule for every reader.

IMOD's flag decides for bytes. Else the header's limits do, where only one reading of the voxels lies within them, or
where they are beyond what the other reading holds. Else the mode does (0 and 1 signed, 6 unsigned), unless the other
reading is far narrower, as it is where a program took the one for the other: then the file is refused.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cryoreg.datasets.io.mrc_header import MrcHeader
from cryoreg.datasets.io.volume_files import limits, plausible, refuse

_TEAR = 2
"""A wrong sign or byte order spreads integers at least this many times wider than the right one."""
_UNSURE = "holds bytes that are taken as signed, as MRC2014 has it; its header tells no more"
_ADVICE = "convert it to mode 2 (float32)"


class Reading(NamedTuple):
    """How the bytes of voxels are to be read."""

    dtype: np.dtype
    note: str | None = None
    """What had to be worked out."""


def reading_of(where: str, header: MrcHeader, voxels: np.ndarray) -> Reading:
    """Return how ``voxels``, some or all of a file's in the type of its mode, are to be read.

    Raises `DataError` where they look wrong so and the header does not say otherwise.
    """
    reading = _signed_or_unsigned(where, header, voxels)
    if _swapped(header, voxels.view(reading.dtype)):
        refuse(where, "has its voxels' bytes in the wrong order; swap them or export it again")
    return reading


def _signed_or_unsigned(where: str, header: MrcHeader, voxels: np.ndarray) -> Reading:
    own = voxels.dtype
    if own.kind not in "iu":
        return Reading(own)
    other = np.dtype(own.str.replace(own.kind, "u" if own.kind == "i" else "i"))
    if own.itemsize == 1 and header.signed_bytes is not None:
        return Reading(own if header.signed_bytes else other)
    by_limits = _by_limits(header, own, other, voxels)
    if by_limits is not None:
        return Reading(by_limits, _told(header, by_limits) if by_limits == other else None)
    if _torn(voxels, voxels.view(other)):
        refuse(where, f"holds {_kind(own)} that look {_sign(other)}, but its header does not say so; {_ADVICE}")
    unsure = own.itemsize == 1 and limits(voxels)[0] < 0
    return Reading(
        own, "holds bytes that are taken as signed, as MRC2014 has it; its header tells no more" if unsure else None
    )


def _by_limits(header: MrcHeader, own: np.dtype, other: np.dtype, voxels: np.ndarray) -> np.dtype | None:
    """Return the type that the header's limits confirm, else the one that they need; None where they do not tell."""
    inside = [dtype for dtype in (own, other) if _within(header, voxels.view(dtype))]
    if len(inside) == 1:
        return inside[0]
    needed = _needed(header, own, other)
    rest = other if needed == own else own
    return None if needed is None or _torn(voxels.view(needed), voxels.view(rest)) else needed


def _needed(header: MrcHeader, own: np.dtype, other: np.dtype) -> np.dtype | None:
    """Return the only type that holds both limits, where they are whole numbers."""
    if header.limits is None or not all(limit.is_integer() for limit in header.limits):
        return None
    holding = [each for each in (own, other) if all(_holds(each, limit) for limit in header.limits)]
    return holding[0] if len(holding) == 1 else None


def _holds(dtype: np.dtype, value: float) -> bool:
    info = np.iinfo(dtype)
    return info.min <= value <= info.max


def _within(header: MrcHeader, reading: np.ndarray) -> bool:
    """Tell whether a reading lies within the limits that the header states."""
    low, high = limits(reading)
    return header.limits is not None and header.limits[0] <= low and high <= header.limits[1]


def _torn(reading: np.ndarray, other: np.ndarray) -> bool:
    return bool(reading.std() > _TEAR * other.std())


def _swapped(header: MrcHeader, voxels: np.ndarray) -> bool:
    swapped = voxels.byteswap()
    if voxels.dtype.kind == "f":
        return not plausible(*limits(voxels)) and plausible(*limits(swapped))
    if voxels.dtype.itemsize == 1 or _confirmed(header, voxels):
        return False
    return _confirmed(header, swapped) or _torn(voxels, swapped)


def _confirmed(header: MrcHeader, reading: np.ndarray) -> bool:
    """Tell whether a reading has the limits that the header states; a part of the voxels lies between them."""
    whole = reading.size * reading.itemsize == header.volume_bytes and header.volumes == 1
    return limits(reading) == header.limits if whole else _within(header, reading)


def _told(header: MrcHeader, dtype: np.dtype) -> str:
    low, high = header.limits or (0, 0)
    return f"holds {_kind(dtype)} that are {_sign(dtype)}, as its limits say ({low:g} to {high:g})"


def _kind(dtype: np.dtype) -> str:
    return "bytes" if dtype.itemsize == 1 else f"integers of {8 * dtype.itemsize} bits"


def _sign(dtype: np.dtype) -> str:
    return "signed" if dtype.kind == "i" else "unsigned"
