"""Which files are tomograms: one answer, by content, for every command."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from cryoreg.datasets.io.mrc import compressed, is_mrc, is_stack, read_header
from cryoreg.datasets.io.mrc_tilts import tilts_of
from cryoreg.datasets.io.volume_files import one_line, refuse
from cryoreg.errors import DataError

MRC = (".mrc", ".rec", ".map")
STACKS = (".mrcs", ".st", ".ali", ".preali")
"""Endings of MRC files that mostly are images, of a tilt series or of particles; their headers tell."""
TIFF = (".tif", ".tiff")
ZARR = (".zarr",)
ENDINGS = (*MRC, *TIFF, *ZARR)
"""What the names of tomograms end with."""
_MARKS = (".zarray", ".zattrs", ".zgroup", "zarr.json")
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PACKED = "compressed"
_OTHERS = {
    b"\x89HDF": "HDF5 (of EMAN2, Dragonfly, ilastik, ...)",
    b"\x1f\x8b": PACKED,
    b"BZh": PACKED,
    b"PK\x03\x04": "a ZIP archive",
    b"\x93NUMPY": "a NumPy array",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\0\0\0\x03\0\0": "a DM3 file (Digital Micrograph)",
    b"\0\0\0\x04\0\0": "a DM4 file (Digital Micrograph)",
}
_BEGINNING = 1024
_EM_BYTES = {1: 1, 2: 2, 4: 4, 5: 4, 8: 8, 9: 8}
_EM_HEADER = 512
_OF_SERIES = re.compile(r"[_-](?:evn|odd|ctf|ali|preali)$", re.I)
"""What AreTomo and IMOD add to the name of a tilt series where it stays one."""
_RECONSTRUCTED = re.compile(r"^rec_", re.I)
_READ = "no kind of tomogram that is read (MRC, OME-Zarr, TIFF)"


def kind_of(path: str | Path) -> str | None:
    """Return what a path is by its content: "MRC", "TIFF", "Zarr", or None, which may be a plain folder.

    Raises `DataError` where it cannot be read.
    """
    if os.path.isdir(path):
        return "Zarr" if any(os.path.isfile(os.path.join(path, mark)) for mark in _MARKS) else None
    if os.path.exists(path) and not os.path.isfile(path):
        refuse(path, "is a pipe or a device, not a file; give the file itself")
    if _beginning(path).startswith(_TIFF_MAGIC):
        return "TIFF"
    return "MRC" if _plain_mrc(path) else None


def _beginning(path: str | Path) -> bytes:
    with one_line(path, "a tomogram"), open(path, "rb") as stream:
        return stream.read(_BEGINNING)


def _plain_mrc(path: str | Path) -> bool:
    try:
        return is_mrc(path)
    except DataError:
        return False


def is_tomogram(path: str | Path) -> bool:
    """Tell whether a path is one tomogram rather than a folder, a table or something else, by its name or content."""
    if os.path.isdir(path):
        return kind_of(path) is not None
    return os.fspath(path).lower().endswith(ENDINGS) or (os.path.isfile(path) and kind_of(path) is not None)


def tomograms_in(folder: str | Path) -> list[str]:
    """Return the sorted names of the tomograms in a folder, hidden files left out.

    Files named as stacks are (.st, .ali, .mrcs) count where their header says that they are volumes, and the folder has
    no other tomogram of that name. A tilt series beside what was reconstructed from it is left out, as AreTomo has
    ``TS_01.mrc`` beside ``TS_01_Vol.mrc``. Raises `DataError` where the folder cannot be read.
    """
    with one_line(folder, "a folder of tomograms"):
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    found = [name for name in names if _named_tomogram(os.path.join(folder, name))]
    known = {os.path.splitext(name)[0] for name in found}
    stacks = [name for name in names if name.lower().endswith(STACKS) and os.path.splitext(name)[0] not in known]
    found += [name for name in stacks if _is_volume(os.path.join(folder, name))]
    series = {name for name in _perhaps_series(found) if _is_series(os.path.join(folder, name))}
    return sorted(name for name in found if name not in series or series.issuperset(found))


def _perhaps_series(names: Sequence[str]) -> Iterator[str]:
    """Yield the names of MRC files of which another one goes on, as what was made from a tilt series is called."""
    begun: dict[str, set[str]] = {}
    for name in names:
        stem = _RECONSTRUCTED.sub("", os.path.splitext(name)[0])
        for place in (*(mark.start() for mark in re.finditer(r"[_.-]", stem)), len(stem)):
            begun.setdefault(stem[:place], set()).add(name)
    for name in names:
        series = _OF_SERIES.sub("", os.path.splitext(name)[0])
        if name.lower().endswith((*MRC, *STACKS)) and begun.get(series, set()) - {name}:
            yield name


def _is_series(path: str) -> bool:
    try:
        return not compressed(path) and tilts_of(path, read_header(path)) is not None
    except DataError:
        return False


def instead_of_tomograms(folder: str | Path) -> str:
    """Say what a folder without tomograms holds: a file that could be meant as one, where there is one."""
    with one_line(folder, "a folder of tomograms"):
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    for name in names:
        path = os.path.join(folder, name)
        what = other_kind(path) if os.path.isfile(path) else None
        if what is not None:
            return f"no tomogram that is read (MRC, OME-Zarr, TIFF), but {name}, which is {what}"
    return f"no tomogram ({' '.join(ENDINGS)})"


def _named_tomogram(path: str) -> bool:
    return kind_of(path) is not None if os.path.isdir(path) else path.lower().endswith(ENDINGS)


def _is_volume(path: str) -> bool:
    return os.path.isfile(path) and _plain_mrc(path) and not is_stack(path)


def refuse_kind(path: str | Path) -> NoReturn:
    """Raise the `DataError` that says what a file is instead of a tomogram."""
    raw = _beginning(path)
    if not raw:
        refuse(path, "is empty; copy or export it again")
    what = other_kind(path) or _text(raw) or "of a kind unknown here"
    if what == PACKED:
        refuse(path, "is compressed, so that boxes cannot be cut without reading all of it; unpack it (gunzip)")
    refuse(path, f"is {what}, {_READ}; convert it to MRC")


def other_kind(path: str | Path) -> str | None:
    """Return what a file is that is known here but not read as a tomogram; None where it is nothing known."""
    raw = _beginning(path)
    what = next((name for magic, name in _OTHERS.items() if raw.startswith(magic)), None)
    return what or ("an EM file (TOM, PyTom, Dynamo)" if _is_em(raw, os.path.getsize(path)) else None)


def _is_em(raw: bytes, size: int) -> bool:
    """Tell whether a header of the EM format fits the size of its file; byte 0 is the machine, byte 3 the type."""
    if len(raw) < _EM_HEADER or raw[3] not in _EM_BYTES:
        return False
    sizes: Sequence[tuple[int, ...]] = [struct.unpack(f"{order}3i", raw[4:16]) for order in "<>"]
    return any(min(x, y, z) > 0 and size == _EM_HEADER + x * y * z * _EM_BYTES[raw[3]] for x, y, z in sizes)


def _text(raw: bytes) -> str | None:
    try:
        raw[:200].decode("ascii")
    except UnicodeDecodeError:
        return None
    return None if b"\0" in raw else "text"
