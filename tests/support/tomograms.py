"""Tomograms with bright voxels at known places, and particle lists that name them, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr

from cryoreg.datasets.list_specs import TomogramSpec
from support.mrc_writing import noise, write_mrc

SHAPE = (40, 44, 48)
POINTS = [(20, 25, 30), (17, 12, 9), (24, 30, 20), (33, 21, 15)]
"""x, y, z of bright voxels, the first voxel being 0."""


def bright(points=POINTS, shape=SHAPE, seed: int = 0) -> np.ndarray:
    """Faint noise, and at point i a voxel of 100 + i."""
    volume = 0.1 * noise(shape, seed)
    for i, (x, y, z) in enumerate(points):
        volume[z, y, x] = 100 + i
    return volume


def write_tomogram(path: Path, points=POINTS, voxel_size: float | None = 10.0, shape=SHAPE, seed: int = 0) -> Path:
    return write_mrc(path, bright(points, shape, seed), voxel_size)


def write_ome_zarr(
    path: Path,
    levels: dict[float, np.ndarray],
    zarr_format: int = 2,
    unit: str | None = "angstrom",
    axes: str = "zyx",
    chunk: int = 16,
) -> Path:
    """Write an image with a level for each voxel size (in ``unit``)."""
    group = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    kinds = {"t": "time", "c": "channel"}
    described = [
        {"name": axis, "type": kinds.get(axis, "space")} | ({"unit": unit} if unit and axis in "zyx" else {})
        for axis in axes
    ]
    datasets = []
    for number, (size, data) in enumerate(levels.items()):
        array = group.create_array(
            str(number), shape=data.shape, dtype=data.dtype, chunks=(1,) * (data.ndim - 3) + (chunk,) * 3
        )
        array[...] = data
        scale = [size if axis in "zyx" else 1.0 for axis in axes]
        datasets.append({"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    image = {"axes": described, "datasets": datasets, "name": "/"}
    if zarr_format == 2:
        group.attrs["multiscales"] = [image | {"version": "0.4"}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    return path


def brightest(volume) -> tuple[float, tuple[int, ...]]:
    """Return the largest voxel of a sample's volume (1, D, H, W) and its place."""
    voxels = np.asarray(volume)[0]
    return float(voxels.max()), tuple(int(i) for i in np.unravel_index(voxels.argmax(), voxels.shape))


def open_list(path: Path, box: int = 8, **settings):
    """Open the boxes around the particles of a list."""
    return TomogramSpec(root=path, box=box, **settings).build()
