"""One MRC file, a volume or a stack of them, read-only, with the checks that mrcfile leaves out."""

from __future__ import annotations

import bz2
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from cryoreg.datasets.io.mrc_header import HEADER_BYTES, MrcHeader, calls_itself_stack, looks_like_mrc, parse
from cryoreg.datasets.io.signs import reading_of
from cryoreg.datasets.io.volume_files import check_holes, check_voxels, name_of_slot, one_line, refuse

_OPENERS = {".gz": gzip.open, ".bz2": bz2.open}


def read_header(path: str | Path, stack: bool = False, edge: int | None = None) -> MrcHeader:
    """Return the header of a volume; raise `DataError` where it is not a whole MRC volume. Reads no voxels.

    With ``stack`` the file may hold any number of volumes: it is a volume stack of MRC2014, or, where ``edge`` is
    given, a series of images that is cut into cubes of so many sections.
    """
    with one_line(path, "an MRC file"):
        raw, size = _beginning(path)
        return parse(path, raw, size, stack, edge)


def read_image_header(path: str | Path) -> MrcHeader:
    """Return the header of a stack of images, whose box is (images, H, W), as `read_header` does."""
    with one_line(path, "an MRC file"):
        raw, size = _beginning(path)
        return parse(path, raw, size, stack=False, edge=None, images=True)


def is_stack(path: str | Path) -> bool:
    """Tell whether a file's header calls it a stack, of volumes or of images."""
    with one_line(path, "an MRC file"):
        return calls_itself_stack(path, *_beginning(path))


def is_mrc(path: str | Path) -> bool:
    """Tell whether a file is MRC, compressed or not, by what it begins with."""
    with one_line(path, "an MRC file"):
        return looks_like_mrc(*_beginning(path))


def _beginning(path: str | Path) -> tuple[bytes, int | None]:
    """Return a file's header, and its size, None where it is compressed."""
    with _open(path) as stream:
        return stream.read(HEADER_BYTES), None if compressed(path) else os.fstat(stream.fileno()).st_size


def read_volume(path: str | Path) -> np.ndarray:
    """Return the voxels, float32 (D, H, W) in the order z, y, x; raise `DataError` where they cannot be right.

    Complex, constant, non-finite and byte-swapped volumes are refused; for the sign of whole numbers see
    `cryoreg.datasets.io.signs`.
    """
    return _read(path, read_header(path))


def read_images(path: str | Path, first: int = 0, count: int | None = None) -> np.ndarray:
    """Return images of a stack, ``count`` (all) from ``first`` on, float32 (images, H, W), as `read_volume` does."""
    header = read_image_header(path)
    if count is None:
        return _read(path, header)
    if not 0 <= first < first + count <= header.stored[0]:
        refuse(path, f"has no images {first + 1} to {first + count}, but {header.stored[0]} of them; check the list")
    each = header.volume_bytes // header.stored[0]
    part = header._replace(offset=header.offset + first * each, stored=(count, *header.stored[1:]))
    return _read(path, part)


def read_slot(path: str | Path, slot: int, edge: int | None = None) -> np.ndarray:
    """Return volume ``slot``, counted from 0, of a stack, as `read_volume` does; other volumes are not read."""
    header = read_header(path, stack=True, edge=edge)
    if not 0 <= slot < header.volumes:
        refuse(path, f"has no slot {slot} (counted from 0), as it holds {header.volumes} volumes; check the list")
    return _read(path, header, slot)


def _read(path: str | Path, header: MrcHeader, slot: int | None = None) -> np.ndarray:
    check_holes(path, header.volume_bytes)
    with one_line(path, "an MRC file"):
        stored = np.frombuffer(_bytes(path, header, slot or 0), header.dtype).reshape(header.stored)
    where = name_of_slot(str(path), slot)
    data = stored.view(reading_of(where, header, stored).dtype)
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
