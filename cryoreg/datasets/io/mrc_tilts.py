"""Tilt angles that an MRC file's extended header has for each section, by which it is a tilt series and no volume.

Three layouts are known. SerialEM and IMOD: NINT bytes for each section, which NREAL says by flags; of flag 1, the first
two are the angle in hundredths of a degree. Agard's, also of AreTomo and FEI: NINT integers, then NREAL floats of which
the first is the angle. FEI1 and FEI2: a record that begins with its length, and has the angle at byte 100.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from cryoreg.datasets.io.mrc_header import HEADER_BYTES, MrcHeader
from cryoreg.datasets.io.volume_files import one_line

_NSYMBT, _EXTTYP, _NINT = 92, 104, 128
"""Where the header has the length of the extended header, its type, and NINT and NREAL, two bytes each."""
_FLAG_BYTES = (2, 6, 4, 2, 2, 4, 2, 4, 2, 4, 2)
"""What each flag of SerialEM stands for; the first is the tilt."""
_FEI, _FEI_TILT = (b"FEI1", b"FEI2"), 100
_UPRIGHT, _FEWEST, _SPREAD, _DISTINCT = 90.0, 5, 20.0, 0.9
"""Degrees, sections, degrees, and a fraction: what angles of a tilt series have; in volumes they are 0 or none."""


def tilts_of(path: str, header: MrcHeader) -> NDArray[np.float64] | None:
    """Return the tilt of each section, degrees (sections,); None where the file is no tilt series, or does not say."""
    sections, extended = header.stored[0], header.offset - HEADER_BYTES
    if extended <= 0 or sections < _FEWEST:
        return None
    with one_line(path, "an MRC file"), open(path, "rb") as stream:
        raw = stream.read(header.offset)
    order = next((each for each in "<>" if struct.unpack_from(f"{each}i", raw, _NSYMBT) == (extended,)), None)
    found = None if order is None else _angles(raw, order, sections)
    return found if found is not None and _are_tilts(found) else None


def _angles(raw: bytes, order: str, sections: int) -> NDArray[np.float64] | None:
    """Return a number of each section by the layout that fits; None where none does."""
    integers, floats = struct.unpack_from(f"{order}2h", raw, _NINT)
    if raw[_EXTTYP : _EXTTYP + 4] in _FEI:
        (length,) = struct.unpack_from(f"{order}i", raw, HEADER_BYTES)
        return _column(raw, f"{order}f8", _FEI_TILT, length, sections)
    flagged = sum(size for bit, size in enumerate(_FLAG_BYTES) if floats & (1 << bit))
    if 0 < floats < 1 << len(_FLAG_BYTES) and integers == flagged:
        hundredths = _column(raw, f"{order}i2", 0, integers, sections) if floats & 1 else None
        return None if hundredths is None else hundredths / 100
    if integers >= 0 and floats > 0:
        return _column(raw, f"{order}f4", 4 * integers, 4 * (integers + floats), sections)
    return None


def _column(raw: bytes, kind: str, place: int, length: int, sections: int) -> NDArray[np.float64] | None:
    """Return a number at the same place of each section's record, None where records do not fit."""
    dtype = np.dtype(kind)
    if length < place + dtype.itemsize or length * sections > len(raw) - HEADER_BYTES:
        return None
    records = np.frombuffer(raw, np.uint8, length * sections, HEADER_BYTES).reshape(sections, length)
    return records[:, place : place + dtype.itemsize].copy().view(dtype)[:, 0].astype(np.float64)


def _are_tilts(angles: NDArray[np.float64]) -> bool:
    """Tell whether numbers are the tilts of a series: far apart, and hardly one of them twice."""
    if not np.isfinite(angles).all() or np.abs(angles).max() > _UPRIGHT:
        return False
    distinct = len(np.unique(np.round(angles, 1)))
    return bool(np.ptp(angles) >= _SPREAD and distinct >= _DISTINCT * len(angles))
