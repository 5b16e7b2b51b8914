"""Write MRC files for tests, and look at a folder from outside."""

from __future__ import annotations

import os
from pathlib import Path

import mrcfile
import numpy as np


def noise(shape=(6, 5, 4), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def write_mrc(path: Path, data: np.ndarray, voxel_size: float | None = 10.0, compression: str | None = None, **header):
    """Write ``data`` as it is; ``header`` sets header fields afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path, data, compression=compression, overwrite=True) as file:
        file.voxel_size = voxel_size or 0
        for name, value in header.items():
            file.header[name] = value
    return path


def edit(path: Path, offset: int, content: bytes) -> None:
    with open(path, "r+b") as stream:
        stream.seek(offset)
        stream.write(content)


def state(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return modification time and content of every file below ``root``."""
    files = [path for path in ([root] if root.is_file() else root.rglob("*")) if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
