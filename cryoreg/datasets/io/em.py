"""EM files of TOM, AV3 and their kin, as far as motive lists need them: a row of numbers for each particle.

A header of 512 bytes: byte 0 says which machine, hence the order of bytes, byte 3 the type, bytes 4 to 15 the sizes.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryoreg.datasets.io.volume_files import one_line, refuse

_HEADER = 512
_TYPES = {2: "i2", 4: "i4", 5: "f4", 9: "f8"}
_BIG_ENDIAN = (0, 3, 5)
"""The machines OS-9, SGI and Mac; 6 is a PC."""


def layout(path: str | Path, raw: bytes) -> tuple[np.dtype[np.generic], tuple[int, int]]:
    """Return the type and the shape (N, 20) of a motive list; raise `DataError` where a file is none, or cut off."""
    if len(raw) < _HEADER or raw[3] not in _TYPES:
        refuse(path, "is no motive list in EM format (its header is another's); check the path")
    order = ">" if raw[0] in _BIG_ENDIAN else "<"
    width, count, depth = struct.unpack(f"{order}3i", raw[4:16])
    dtype = np.dtype(order + _TYPES[raw[3]])
    if depth != 1 or width < 20 or count < 1 or len(raw) != _HEADER + width * count * dtype.itemsize:
        refuse(path, f"has a header of {width}×{count}×{depth} numbers and {len(raw):,} bytes; copy it again")
    return dtype, (count, width)


def read_em_rows(path: str | Path) -> NDArray[np.float64]:
    """Return the numbers of each particle (N, 20); raise `DataError`, one line, where the file is no motive list."""
    with one_line(path, "a motive list"):
        raw = Path(path).read_bytes()
        dtype, shape = layout(path, raw)
        return np.frombuffer(raw, dtype, offset=_HEADER).reshape(shape).astype(np.float64)


def with_row(path: str | Path, number: int, values: NDArray[np.float64]) -> bytes:
    """Return the file with other values in row ``number``, counted from 1, of every particle."""
    raw = Path(path).read_bytes()
    dtype, shape = layout(path, raw)
    rows = np.frombuffer(raw, dtype, offset=_HEADER).reshape(shape).copy()
    rows[:, number - 1] = values
    return raw[:_HEADER] + rows.tobytes()
