"""Isosurfaces of volumes by marching cubes (Lewiner et al. 2003, in scikit-image), in x, y, z."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import marching_cubes, mesh_surface_area

from cryoreg.errors import ConfigError

Array = NDArray[np.float32]


class Surface(NamedTuple):
    """A closed mesh of triangles."""

    vertices: Array
    """(V, 3): x, y, z in Å, or voxels where their size is unknown; the centre of the first voxel is at 0."""
    faces: NDArray[np.int32]
    """(F, 3): vertices, counter-clockwise seen from outside."""

    @property
    def area(self) -> float:
        """The area in Å², or voxels²."""
        return float(mesh_surface_area(self.vertices, self.faces))

    @property
    def normals(self) -> Array:
        """(F, 3): unit vectors outwards."""
        a, b, c = (self.vertices[self.faces[:, corner]] for corner in range(3))
        normals = np.cross(b - a, c - a)
        return normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(np.finfo(np.float32).tiny)


def low_pass(volume: Array, resolution: float) -> Array:
    """Return a volume filtered by the Gaussian whose transfer is 1/2 at 1 / ``resolution`` (in voxels).

    In real space its standard deviation is ``resolution`` · √(ln 2 / 2) / π, a fifth of the resolution. Beyond its
    faces a volume is taken to go on as it ends.
    """
    return ndimage.gaussian_filter(volume, resolution * math.sqrt(math.log(2) / 2) / math.pi, mode="nearest")


def z_score(volume: Array) -> Array:
    """Return a volume with mean 0 and standard deviation 1."""
    return (volume - volume.mean()) / volume.std().clip(np.finfo(np.float32).tiny)


def without_dust(volume: Array, level: float, fewest: int) -> Array:
    """Return a volume in which connected regions above ``level`` of fewer than ``fewest`` voxels are at its minimum.

    The largest region is never dust.
    """
    regions, _ = ndimage.label(volume > level, np.ones((3, 3, 3)))
    sizes = np.bincount(regions.ravel())[1:]
    dust = np.flatnonzero(sizes < min(fewest, sizes.max(initial=0))) + 1
    return np.where(np.isin(regions, dust), volume.min(), volume)


def isosurface(volume: Array, level: float, voxel_size: float | None = None) -> Surface:
    """Return the surface at which a volume (D, H, W) crosses ``level``, closed where it meets the box.

    Raises `ConfigError` where no voxel is above the level, or all are.
    """
    low, high = float(volume.min()), float(volume.max())
    if not low < level < high:
        raise ConfigError(f"no surface at level {level:.3g}: voxels go from {low:.3g} to {high:.3g}; choose between")
    closed = np.pad(volume, 1, constant_values=low)
    spacing = (voxel_size or 1.0,) * 3
    vertices, faces, _, _ = marching_cubes(closed, level, spacing=spacing, gradient_direction="descent")
    zyx = vertices - np.float32(spacing[0])
    return Surface(np.ascontiguousarray(zyx[:, ::-1]), faces)
