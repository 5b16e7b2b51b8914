"""Candidates ranked by their local normalised cross-correlation with a template.

The correlation coefficient is taken within a spherical mask (Roseman 2003, "Particle finding in electron micrographs
using a fast local correlation algorithm", Ultramicroscopy 94:225) and maximised over rotations of the template and
small shifts. Only the surroundings of candidates are looked at, so it is one matrix product: masked and normalised
patches times masked and normalised templates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from cryoreg.simulation import optics

Array = NDArray[np.float32]
Rotations = NDArray[np.float64]

_BATCH_FLOATS = 2**22
"""Floats in the patches and in the correlations of one batch, roughly."""
_FLAT = 1e-5
"""A patch whose variance is a smaller share of its mean square is flat but for rounding."""
_PSI = 1.533751168755204288118041
"""The positive root of ψ⁴ = ψ + 4."""


class Templates(NamedTuple):
    """One template in many orientations, as unit vectors over the voxels of the mask."""

    offsets: NDArray[np.int64]
    """(M, 3): z, y, x of the mask's voxels from its centre."""
    vectors: Array
    """(R, M): mean 0, norm 1."""


class Match(NamedTuple):
    """The best fit of the templates at each of N candidates."""

    correlations: Array
    """(N,): between −1 and 1."""
    shifts: NDArray[np.int64]
    """(N, 3): z, y, x from the candidate to the best position."""
    rotations: NDArray[np.int64]
    """(N,): index of the best orientation."""


def uniform_rotations(count: int) -> Rotations:
    """Return ``count`` rotation matrices (count, 3, 3) spread evenly over SO(3): a super-Fibonacci spiral.

    Alexa 2022, "Super-Fibonacci spirals: fast, low-discrepancy sampling of SO(3)", CVPR.
    """
    s = np.arange(count) + 0.5
    inner, outer = np.sqrt(s / count), np.sqrt(1 - s / count)
    alpha, beta = 2 * np.pi * s / math.sqrt(2), 2 * np.pi * s / _PSI
    return _matrices(inner * np.sin(alpha), inner * np.cos(alpha), outer * np.sin(beta), outer * np.cos(beta))


def _matrices(x: Rotations, y: Rotations, z: Rotations, w: Rotations) -> Rotations:
    """Return the rotation matrices of unit quaternions."""
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)


def ball(radius: float) -> NDArray[np.int64]:
    """Return the offsets (M, 3), z y x, of the voxels within ``radius`` voxels of a voxel."""
    reach = math.floor(radius)
    grid = np.moveaxis(np.mgrid[-reach : reach + 1, -reach : reach + 1, -reach : reach + 1], 0, -1).reshape(-1, 3)
    return grid[np.square(grid).sum(axis=1) <= radius**2]


def make_templates(
    template: Array, radius: float, rotations: Rotations, transfer: Callable[[Array], Array] | None = None
) -> Templates:
    """Return ``template`` (D, H, W) turned about its voxel at index edge // 2 by each of ``rotations`` (of x, y, z).

    ``transfer`` is what the microscope does to the turned template, before it is cut to the mask: a ball of ``radius``
    voxels. The template is taken to be 0 outside its box.
    """
    offsets = ball(radius)
    turned = (rotate(template, rotation) for rotation in rotations)
    seen = (transfer(volume) if transfer else volume for volume in turned)
    centre = np.array(template.shape) // 2
    index = tuple((offsets + centre).T)
    return Templates(offsets, unit(np.stack([volume[index] for volume in seen])))


def rotate(volume: Array, rotation: Rotations) -> Array:
    """Return ``volume`` turned about its voxel at index edge // 2, so that what lay at x lies at ``rotation`` · x."""
    in_zyx = rotation[::-1, ::-1]
    centre = np.array(volume.shape) // 2
    return ndimage.affine_transform(volume, in_zyx.T, centre - in_zyx.T @ centre, order=1, output=np.float32)


def microscope(
    shape: tuple[int, int, int],
    tilt_range: tuple[float, float] | None = None,
    tilt_axis: str = "y",
    low_pass: float | None = None,
) -> Callable[[Array], Array]:
    """Return the filter of volumes of ``shape`` that keeps what a tilt series measures and what ``low_pass`` lets by.

    The tilt axis lies in the sections, the beam along z (see `optics.wedge`); ``low_pass`` is in voxels: frequencies
    above 1 / low_pass are removed.
    """
    k = optics.frequencies(shape, 1.0)
    kept = k.squared <= (low_pass**-2 if low_pass else np.inf)
    if tilt_range is not None:
        kept &= optics.wedge(k if tilt_axis == "y" else optics.Frequencies(k.z, k.x, k.y), tilt_range)
    return lambda volume: fft.irfftn(fft.rfftn(volume) * kept, shape).astype(np.float32)


def unit(vectors: Array) -> Array:
    """Return vectors (N, M) with mean 0 and norm 1; those without variance become 0."""
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)


def match(
    read_box: Callable[[NDArray[np.int64], int], Array], voxels: NDArray[np.int64], templates: Templates, reach: float
) -> Match:
    """Return the best correlation at candidates (N, 3) within ``reach`` voxels, over all orientations.

    ``read_box(centre, edge)`` gives the cube of that odd edge around a voxel, density bright.
    """
    shifts = ball(reach)
    half = int(templates.offsets.max() + shifts.max())
    edge = 2 * half + 1
    gathered = np.ravel_multi_index(tuple(np.moveaxis(shifts[:, None] + templates.offsets + half, -1, 0)), (edge,) * 3)
    batch = max(1, _BATCH_FLOATS // (len(shifts) * max(templates.vectors.shape)))
    found = []
    for start in range(0, len(voxels), batch):
        boxes = np.stack([read_box(voxel, edge).ravel() for voxel in voxels[start : start + batch]])
        centred = boxes - boxes.mean(axis=1, keepdims=True)
        found.append(_best(_correlate(centred[:, gathered], templates.vectors), shifts))
    fields = (np.concatenate(field) for field in zip(*found, strict=True)) if found else _nothing()
    return Match(*fields)


def _correlate(patches: Array, vectors: Array) -> Array:
    """Return the correlation coefficients (N, S, R) of patches (N, S, M) with unit vectors (R, M); 0 for flat patches.

    The vectors have mean 0, so the mean of a patch matters to its norm alone.
    """
    squares = np.einsum("nsm,nsm->ns", patches, patches)
    variance = squares - np.square(patches.sum(axis=2)) / patches.shape[2]
    structured = variance > _FLAT * squares
    scale = np.where(structured, 1 / np.sqrt(np.where(structured, variance, 1)), 0).astype(np.float32)
    correlations = patches @ vectors.T
    correlations *= scale[..., None]
    return correlations


def _best(correlations: Array, shifts: NDArray[np.int64]) -> Match:
    """Return the largest of (N, S, R)."""
    flat = correlations.reshape(len(correlations), -1)
    best = flat.argmax(axis=1)
    shift, rotation = np.divmod(best, correlations.shape[2])
    return Match(np.take_along_axis(flat, best[:, None], 1)[:, 0], shifts[shift], rotation)


def _nothing() -> Match:
    return Match(np.empty(0, np.float32), np.empty((0, 3), np.int64), np.empty(0, np.int64))
