"""IMOD's models (.mod): the points of their contours, and the image on which they were made.

After "IMOD Binary File Format, Version 1, Revision 2" (https://bio3d.colorado.edu/imod/doc/binspec.html): big-endian
chunks, each an id of four letters; all but objects, contours and meshes tell their length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.datasets.io.volume_files import one_line, refuse, refuse_empty

_ID, _HEADER, _OBJECT, _CONTOUR = 8, 232, 176, 16
_SIZE, _FLAGS, _NAME = 128, 144, 64
"""Where the header has the size of the image and its flags, and how many bytes of an object are its name."""
_TURNED = 1 << 16 | 1 << 17
"""The flags of a model that was saved while y and z of its image were exchanged, or turned."""
_HAS_ORIGIN = 1 << 14
_POINT = 12


class Model(NamedTuple):
    """The points of a model, N of them, contour after contour."""

    points: NDArray[np.float64]
    """(N, 3): x, y, z in voxels of the image: x, y from the first voxel's corner, z from the first slice's middle."""
    objects: NDArray[np.int64]
    """(N,): the number of each point's object, counted from 1."""
    contours: NDArray[np.int64]
    """(N,): the number of each point's contour in its object, counted from 1."""
    names: list[str]
    """Of the objects; "" where one has none."""
    voxel_size: float | None
    """Å per voxel of the image, where the model says so and all axes are alike."""
    size: NDArray[np.float64]
    """(3,): x, y, z up to which the image goes at least, in voxels; point2model writes how far the points go."""


def read_model(path: str | Path) -> Model:
    """Read a binary model; raise `DataError`, one line, where it is damaged, or its axes are not those of its image."""
    with one_line(path, "an IMOD model"):
        raw = Path(path).read_bytes()
        if not raw.startswith(b"IMODV1.") or len(raw) < _ID + _HEADER:
            refuse(path, "is no IMOD model (it begins otherwise); check the path")
        (flags,) = struct.unpack_from(">I", raw, _ID + _FLAGS)
        if flags & _TURNED:
            refuse(
                path, "was saved while its image was flipped or turned in 3dmod; open it unflipped and save it again"
            )
        return _of_chunks(path, raw, flags)


def _chunks(path: str | Path, raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the id and the content of each chunk up to the mark of the end."""
    place = _ID + _HEADER
    while place < len(raw) and raw[place : place + 4] != b"IEOF":
        name, place = raw[place : place + 4], place + 4
        size = _size_of(path, name, raw[place : place + _CONTOUR])
        if name not in (b"OBJT", b"CONT", b"MESH"):
            place += 4
        if size < 0 or place + size > len(raw):
            refuse(path, f"ends within its chunk '{name.decode('latin-1')}'; copy or save it again")
        yield name, raw[place : place + size]
        place += size


def _size_of(path: str | Path, name: bytes, begin: bytes) -> int:
    """Return the bytes of a chunk by its id and how it begins."""
    if name == b"OBJT":
        return _OBJECT
    if len(begin) < 4:
        refuse(path, "ends too early; copy or save it again")
    first, *more = struct.unpack_from(f">{len(begin) // 4}i", begin)
    if name == b"CONT":
        return _CONTOUR + _POINT * first if first >= 0 else -1
    if name == b"MESH":
        return _CONTOUR + _POINT * first + 4 * more[0] if first >= 0 and more and more[0] >= 0 else -1
    return first


def _of_chunks(path: str | Path, raw: bytes, flags: int) -> Model:
    names, found = [], list[tuple[NDArray[np.float64], int, int]]()
    contour, voxel_size, offset = 0, None, np.zeros(3)
    size = np.array(struct.unpack_from(">3i", raw, _ID + _SIZE), dtype=np.float64)
    for name, content in _chunks(path, raw):
        if name == b"OBJT":
            names.append(content[:_NAME].split(b"\0")[0].decode("utf-8", "replace").strip())
            contour = 0
        elif name == b"CONT":
            contour += 1
            points = np.frombuffer(content, ">f4", offset=_CONTOUR).reshape(-1, 3).astype(np.float64)
            found.append((points, len(names), contour))
        elif name == b"MINX" and len(content) >= 72:
            voxel_size, offset = _image(np.frombuffer(content, ">f4", 18).astype(np.float64).reshape(6, 3), flags)
    if not sum(len(points) for points, *_ in found):
        refuse_empty(path)
    counts = [len(points) for points, *_ in found]
    points = np.concatenate([points for points, *_ in found]) + offset
    if not np.isfinite(points).all():
        refuse(path, "has points that are no numbers; save it again")
    objects, contours = (np.repeat([each[place] for each in found], counts) for place in (1, 2))
    return Model(points, objects, contours, names, voxel_size, size + offset)


def _image(reference: NDArray[np.float64], flags: int) -> tuple[float | None, NDArray[np.float64]]:
    """Return the voxel size of the image, and what leads from a part of it that was loaded to the whole."""
    old_shift, size, shift = reference[1], reference[3], reference[4]
    if not (np.isfinite(reference).all() and (size > 0).all()):
        return None, np.zeros(3)
    offset = (old_shift - shift) / size if flags & _HAS_ORIGIN else np.zeros(3)
    alike = np.ptp(size) <= 1e-3 * size[0] and size[0] != 1
    return (float(size[0]) if alike else None), offset
