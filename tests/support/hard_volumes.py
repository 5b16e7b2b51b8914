"""Files of volumes as other programs write them, byte by byte, for tests that know what is right."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (6, 7, 8)
LITTLE, BIG = b"\x44\x44\0\0", b"\x11\x11\0\0"
MODES = {"i1": 0, "i2": 1, "f4": 2, "u2": 6, "f2": 12}
IMOD = 1146047817


def coded(dtype: str = "f4", low: int = -100, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Return a volume whose voxel is ``low`` plus its number, modulo 200: no two near each other are alike."""
    return (low + np.arange(np.prod(shape)).reshape(shape) % 200).astype(dtype)


def mrc(
    path: Path,
    stored: np.ndarray,
    *,
    mode: int | None = None,
    order: str = "<",
    stamp: bytes | None = None,
    word: bytes = b"MAP ",
    limits: tuple[float, float] = (0, 0),
    cell: tuple[float, float, float] | None = None,
    intervals: tuple[int, int, int] | None = None,
    axes: tuple[int, int, int] = (1, 2, 3),
    start: tuple[int, int, int] = (0, 0, 0),
    origin: tuple[float, float, float] = (0, 0, 0),
    group: int = 1,
    extended: bytes = b"",
    nsymbt: int | None = None,
    imod: int | None = None,
    after: bytes = b"",
    voxel: float = 10.0,
) -> Path:
    """Write an MRC file field by field, as the format's page lists them."""
    sections, rows, columns = stored.shape
    lengths = {1: 0, 2: 0, 3: 0} | dict(zip(axes, (columns, rows, sections), strict=True))
    counts = intervals or tuple(lengths[axis] for axis in (1, 2, 3))
    edges = cell or tuple(voxel * count for count in counts)
    code = MODES.get(stored.dtype.str[1:], 0) if mode is None else mode
    head = struct.pack(f"{order}10i", columns, rows, sections, code, *start, *counts)
    head += struct.pack(f"{order}6f3i", *edges, 90, 90, 90, *axes)
    head += struct.pack(f"{order}3f2i", *limits, 0, group, len(extended) if nsymbt is None else nsymbt)
    head = head.ljust(152, b"\0") + (b"" if imod is None else struct.pack(f"{order}2i", IMOD, imod))
    head = head.ljust(196, b"\0") + struct.pack(f"{order}3f", *origin)
    head += word + ((LITTLE if order == "<" else BIG) if stamp is None else stamp)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        head.ljust(1024, b"\0") + extended + stored.astype(stored.dtype.newbyteorder(order)).tobytes() + after
    )
    return path


def tiff(
    path: Path, sections: np.ndarray, *, photometric: int = 1, sample: int | None = None, order: str = "<"
) -> Path:
    """Write an uncompressed TIFF, a page for each section, tag by tag."""
    stored = sections.astype(sections.dtype.newbyteorder(order))
    data = [section.tobytes() for section in stored]
    raw = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    for number, content in enumerate(data):
        tags = _tags(sections, photometric, sample)
        start = len(raw) + 2 + 12 * (len(tags) + 2) + 4
        tags |= {273: (4, start), 279: (4, len(content))}
        raw += struct.pack(f"{order}H", len(tags))
        for code, (kind, value) in sorted(tags.items()):
            raw += struct.pack(f"{order}HHI", code, kind, 1) + struct.pack(
                f"{order}{'HH' if kind == 3 else 'I'}", *((value, 0) if kind == 3 else (value,))
            )
        last = number == len(data) - 1
        raw += struct.pack(f"{order}I", 0 if last else start + len(content)) + content
    path.write_bytes(raw)
    return path


def _tags(sections: np.ndarray, photometric: int, sample: int | None) -> dict[int, tuple[int, Any]]:
    bits = 8 * sections.dtype.itemsize
    tags = {256: (4, sections.shape[2]), 257: (4, sections.shape[1]), 258: (3, bits), 259: (3, 1)}
    tags |= {262: (3, photometric), 277: (3, 1), 278: (4, sections.shape[1])}
    return tags if sample is None else tags | {339: (3, sample)}
