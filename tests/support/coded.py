"""Tomograms whose voxels hold their own place, x + 100 y + 10000 z: what is cut tells from where."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cryoreg.datasets.readers.tomogram import TomogramParticles
from support.mrc_writing import write_mrc

SHAPE = (30, 40, 50)
"""z, y, x: no two edges are alike."""
OTHER = 500_000
"""Added to the voxels of a second tomogram, twice to those of a third."""


def coded(number: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Return the voxels of tomogram ``number``."""
    z, y, x = np.indices(shape, dtype=np.float32)
    return x + 100 * y + 10_000 * z + OTHER * number


def write_coded(path: Path, number: int = 0, voxel_size: float | None = 10.0, shape=SHAPE) -> Path:
    return write_mrc(path, coded(number, shape), voxel_size)


def place_of(value: float) -> tuple[int, tuple[float, float, float]]:
    """Return the tomogram, and x, y, z there, that a voxel tells."""
    number, code = divmod(value, OTHER)
    return int(number), (round(code % 100, 2), float(int(code // 100) % 100), float(int(code // 10_000)))


def centres(path: Path, **settings) -> list[tuple[int, tuple[float, float, float]]]:
    """Return from where the centres of a list's boxes of 4 voxels were cut."""
    dataset = TomogramParticles(path, box=4, **settings)
    return [place_of(float(dataset[i].volume[0, 2, 2, 2])) for i in range(len(dataset))]
