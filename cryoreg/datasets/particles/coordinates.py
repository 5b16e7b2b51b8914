"""From the coordinates of a particle list to voxels of a tomogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.volume_files import refuse, times
from cryoreg.datasets.io.voxel_sizes import SAME_VOXEL_SIZE
from cryoreg.datasets.particles.particle_list import ParticleList
from cryoreg.datasets.tomograms.files import Tomogram
from cryoreg.datasets.tomograms.names import Described

_WHOLE = 0.005
"""A ratio of voxel sizes that is as near to a whole number is one: headers round."""
_BINNINGS = (2, 3, 4, 6, 8)
_ANGSTROM = 1.0
_ORDERS = {(2, 1, 0): "x and z", (0, 2, 1): "y and z", (1, 0, 2): "x and y"}
_ENOUGH = 5
"""Particles of which it is no chance that all fit otherwise."""


class Placed(NamedTuple):
    """The particles of one tomogram."""

    tomogram: Tomogram
    described: Described
    rows: NDArray[np.int64]


def in_voxels(particles: ParticleList, placed: Placed, unit_size: float | None) -> NDArray[np.float64]:
    """Return the coordinates x, y, z (n, 3) of a tomogram's particles in its voxels, the first voxel being 0.

    ``unit_size`` (Å per unit) overrules what the list says of its unit. Raises `DataError` where a size is missing.
    """
    xyz = particles.coordinates[placed.rows]
    shifts = 0.0 if particles.shifts is None else particles.shifts[placed.rows]
    if particles.unit == "centred":
        return _from_centre(particles, placed, xyz + shifts, unit_size)
    if unit_size is None and particles.are_fractions:
        peaks = np.rint(xyz * np.array(placed.tomogram.shape[::-1]))  # matching finds voxels, and fractions are rounded
        return peaks + shifts / _voxel_size(particles, placed) if np.any(shifts) else peaks
    if unit_size is None and particles.unit == "voxel":
        _check_not_flat(particles)
    unit = unit_size or unit_of(particles, placed)
    if unit is None and not np.any(shifts):
        return xyz
    size = _voxel_size(particles, placed)
    if particles.unit == "middle":
        assert unit is not None
        return xyz * ratio(unit, size, True) + np.array(placed.tomogram.shape[::-1]) // 2
    scale = 1.0 if unit is None else ratio(unit, size, particles.unit == "voxel")
    return xyz * scale + (0.5 * (scale - 1) if particles.from_corner else 0.0) + shifts / size


def _check_not_flat(particles: ParticleList) -> None:
    """Raise `DataError` where the list is of 2D stacks: WarpTools and RELION count differently under the same names."""
    if particles.flat:
        refuse(
            particles.path,
            f"lists 2D stacks ({particles.flat}), whose coordinates may count pixels of the images (WarpTools) "
            "or of the tilt series (RELION); say --set dataset.coordinate_size=<Å per pixel>",
        )


def unit_of(particles: ParticleList, placed: Placed) -> float | None:
    """Return Å per unit of the coordinates; None where they are voxels of the tomogram."""
    if particles.unit == "angstrom":
        return 1.0
    stated = _stated_size(particles, placed.rows)
    if stated is None and relion.TOMOGRAM in particles.columns:  # others do not count as RELION, even beside its files
        return placed.described.tilt_size
    return stated


def _stated_size(particles: ParticleList, rows: NDArray[np.int64]) -> float | None:
    if particles.unit_sizes is None:
        return None
    sizes = particles.unit_sizes[rows]
    if np.ptp(sizes) > _WHOLE * sizes[0]:
        refuse(
            particles.path,
            f"gives voxel sizes from {sizes.min():g} to {sizes.max():g} Å for the coordinates in one tomogram "
            f"({particles.tomograms[rows[0]]}); split the list, or say --set dataset.coordinate_size=<Å>",
        )
    return float(sizes[0])


def _voxel_size(particles: ParticleList, placed: Placed) -> float:
    if placed.tomogram.voxel_size is None:
        refuse(
            placed.tomogram.path,
            f"has no voxel size, which the coordinates of {particles.path} need (a header's 1 Å is none, where other "
            "sizes go against it); say --set dataset.voxel_size=<Å>",
        )
    return placed.tomogram.voxel_size


def ratio(unit: float, size: float, whole: bool) -> float:
    """Return ``unit`` / ``size``, or where ``whole`` the whole binning next to it if it is as good as that."""
    ratio = unit / size
    for near in (max(1, round(ratio)), 1 / max(1, round(1 / ratio))):
        if whole and abs(ratio - near) <= _WHOLE * near:
            return near
    return ratio


def _from_centre(
    particles: ParticleList, placed: Placed, xyz: NDArray[np.float64], unit_size: float | None
) -> NDArray[np.float64]:
    """Turn Å from the centre into voxels: Å / pixel size of the tilt series + size / 2, both unbinned, over binning."""
    described, tilt = placed.described, tilt_size_of(particles, placed, unit_size)
    if tilt is None:
        refuse(
            particles.path,
            f"has centred coordinates (RELION 5), but neither it nor a tomograms.star has {relion.TILT_SIZE}; "
            "say --set dataset.coordinate_size=<Å per pixel of the tilt series>",
        )
    binning = binning_of(particles, placed, tilt)
    shape = np.array(placed.tomogram.shape[::-1], dtype=np.float64)
    unbinned = shape * binning if described.unbinned is None else described.unbinned
    return (xyz / tilt + unbinned / 2) / binning


def tilt_size_of(particles: ParticleList, placed: Placed, unit_size: float | None) -> float | None:
    """Return Å per pixel of the tilt series; of a centre of which nothing is told, the voxel size of the tomogram.

    Å from half its size are at one place whatever pixels they are counted in.
    """
    told = unit_size or _stated_size(particles, placed.rows) or placed.described.tilt_size
    of_itself = placed.described.unbinned is None and placed.described.binning is None
    return told or (placed.tomogram.voxel_size if of_itself and particles.unit == "centred" else None)


def binning_of(particles: ParticleList, placed: Placed, tilt: float) -> float:
    """Return the voxels of the tilt series to one of the tomogram, as stated and as measured.

    Raises `DataError` where both are known and disagree.
    """
    stated, size = placed.described.binning, placed.tomogram.voxel_size
    if stated is None:
        return ratio(_voxel_size(particles, placed), tilt, True)
    if size is not None and abs(size / tilt - stated) > SAME_VOXEL_SIZE * stated:
        refuse(
            placed.tomogram.path,
            f"has voxels of {size:.4g} Å, but its tomograms.star tells of {tilt:g} Å binned by {stated:g}; "
            "say --set dataset.voxel_size=<Å>, or with dataset.tomograms which folder holds the right ones",
        )
    return stated


def check_inside(
    particles: ParticleList, placed: Sequence[Placed], places: NDArray[np.float64], unit_size: float | None
) -> None:
    """Raise `DataError`, with their number and the first, where particles lie outside of their tomograms."""
    shapes = np.empty_like(places)
    for each in placed:
        shapes[each.rows] = each.tomogram.shape[::-1]
    outside = np.flatnonzero(~_inside(places, shapes))
    if not len(outside):
        return
    row = outside[0]
    tomogram = next(each.tomogram for each in placed if row in each.rows)
    at = ", ".join(f"{value:.4g}" for value in places[row])
    refuse(
        particles.path,
        f"has {len(outside)} of {len(particles)} particles outside their tomograms, the first in {particles.row(row)} "
        f"at voxel ({at}) of {tomogram.path} ({times(tomogram.shape[::-1])}, x y z); "
        + (
            _better_order(particles, places, shapes)
            or _better_unit(particles, placed, len(outside))
            or "remove them, or check dataset.voxel_size"
        ),
    )


def _inside(places: NDArray[np.float64], shapes: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.all((places >= -0.5) & (places <= shapes - 0.5), axis=1)


def _better_order(particles: ParticleList, places: NDArray[np.float64], shapes: NDArray[np.float64]) -> str | None:
    """Name two axes that were exchanged, as of arrays or unturned tomograms, where all would lie inside so."""
    if particles.unit not in ("voxel", "angstrom") or len(places) < _ENOUGH:
        return None
    fitting = [words for order, words in _ORDERS.items() if _inside(places[:, order], shapes).all()]
    return f"all fit if {' or '.join(fitting)} are exchanged; write x, y, z of the tomogram" if fitting else None


def _better_unit(particles: ParticleList, placed: Sequence[Placed], outside: int) -> str | None:
    """Name units of the coordinates in which all particles would lie inside, where most do not: the largest, and Å."""
    sizes = {each.tomogram.voxel_size for each in placed}
    if particles.unit == "centred" or len(sizes) > 1 or None in sizes or 2 * outside < len(particles):
        return None
    (size,) = sizes
    assert size is not None
    fitting = {
        unit: f"{meaning} (--set dataset.coordinate_size={unit:g})"
        for unit, meaning in sorted(_candidates(particles, placed, size).items(), reverse=True)
        if all(_fits(particles, each, unit) for each in placed)
    }
    if not fitting:
        return None
    named = dict.fromkeys([next(iter(fitting.values())), fitting.get(_ANGSTROM)])
    return f"all fit if the coordinates are in {' or '.join(name for name in named if name)}"


def _candidates(particles: ParticleList, placed: Sequence[Placed], size: float) -> Mapping[float, str]:
    found = {size: f"voxels of {size:g} Å as the tomogram", _ANGSTROM: "Å"}
    for each in placed:
        if each.described.tilt_size:
            found.setdefault(each.described.tilt_size, "pixels of the tilt series")
    for column in relion.PERHAPS_COORDINATE_SIZES:
        if column in particles.columns:
            found.setdefault(float(particles.columns[column].iloc[0]), f"voxels of its {column}")
    for binning in _BINNINGS:
        found.setdefault(size / binning, f"voxels from before binning by {binning}")
    return found


def _fits(particles: ParticleList, placed: Placed, unit: float) -> bool:
    places = in_voxels(particles, placed, unit)
    return bool(_inside(places, np.array(placed.tomogram.shape[::-1], dtype=np.float64)).all())
