"""What is assumed of a list's coordinates, in words: unit, frame and binning, and who says so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cryoreg.datasets.io.volume_files import times, together
from cryoreg.datasets.particles.coordinates import (
    Placed,
    binning_of,
    ratio,
    tilt_size_of,
    unit_of,
)
from cryoreg.datasets.particles.particle_list import ParticleList

_HALF_A_VOXEL = 0.5
_BINNINGS = (8, 6, 4, 3, 2)
_FROM_THE_TOP = (
    "is TIFF, whose rows are counted from the first along y, as napari, ImageJ and ChimeraX do; IMOD, RELION and EMAN2 "
    "count them from the last, and see it mirrored: for a list of theirs, convert it (tif2mrc)"
)
_ENOUGH = 20
"""Particles that all lie in one corner by chance only where there are fewer."""


def assumptions(
    particles: ParticleList, placed: Sequence[Placed], places: NDArray[np.float64], unit_size: float | None
) -> list[str]:
    """Return a line for each way in which coordinates are read, and for what makes that doubtful.

    ``places`` (N, 3) are the particles in voxels of their tomograms, ``unit_size`` (Å per unit) is what the user says.
    """
    frames = together((each.tomogram.path, f"coordinates: {_frame(particles, each, unit_size)}") for each in placed)
    origins = together((each.tomogram.path, note) for each in placed for note in _origin(particles, each))
    of_others = particles.carried.files is None  # those that cryoreg picked are in rows as it counts them
    rows = together((each.tomogram.path, _FROM_THE_TOP) for each in placed if of_others and each.tomogram.top_first)
    corner = [] if unit_size else _corner(particles, placed, places)
    return [*frames, *origins, *rows, *corner, *particles.notes]


def _origin(particles: ParticleList, placed: Placed) -> list[str]:
    """Return a note where Å may count from elsewhere than the first voxel, as a file says that this is not at 0."""
    tomogram = placed.tomogram
    if particles.unit != "angstrom" or max(map(abs, tomogram.origin)) <= _HALF_A_VOXEL * (tomogram.voxel_size or 0.0):
        return []
    begin = ", ".join(f"{place:.4g}" for place in tomogram.origin[::-1])
    return [
        f"begins at {begin} Å (x, y, z) by its own words, and Å of the list are counted from its first voxel; if they "
        "count from 0 of that frame, take the beginning off them"
    ]


def _corner(particles: ParticleList, placed: Sequence[Placed], places: NDArray[np.float64]) -> list[str]:
    """Return a note where all particles lie in the corner at 0, as places in coarser tomograms than these do."""
    if len(places) < _ENOUGH:
        return []
    reach = max(float((places[each.rows] / each.tomogram.shape[::-1]).max()) for each in placed)
    binning = next((binning for binning in _BINNINGS if reach * binning <= 1), None)
    if binning is None:
        return []
    units = {unit_of(particles, each) or each.tomogram.voxel_size for each in placed}
    known = units.pop() if len(units) == 1 and particles.unit == "voxel" else None
    return [
        f"{particles.path}: all {len(places):,} particles lie in the first 1/{binning} of their tomograms along x, y "
        f"and z, as where coordinates count voxels {binning} times as large as these; if so, say "
        f"--set dataset.coordinate_size={f'{known * binning:.4g}' if known else '<Å>'}"
    ]


def _frame(particles: ParticleList, placed: Placed, unit_size: float | None) -> str:
    if particles.unit == "centred":
        return _centred(particles, placed, unit_size)
    if unit_size is None and particles.are_fractions:
        return "all from 0 to 1, hence fractions of the tomogram's size (Warp's matching), rounded to its voxels"
    frame = particles.frame and f" {particles.frame}"
    unit = unit_size or unit_of(particles, placed)
    if unit is None:
        return f"taken as voxels of the tomogram{frame}, as no unit is stated"
    teller = _teller(particles, unit_size)
    size = placed.tomogram.voxel_size
    if size is None:
        return f"voxels of {unit:g} Å{frame} ({teller})"
    if unit == 1 and particles.unit == "angstrom":
        return f"Å{frame} ({teller}), {size:.4g} to a voxel"
    count = 1 / ratio(unit, size, particles.unit != "angstrom")
    if particles.unit == "middle":
        frame = f" from the tomogram's middle, voxel {times([edge // 2 for edge in placed.tomogram.shape[::-1]])}"
    return f"voxels of {unit:g} Å{frame} ({teller}), {count:.4g} to one of the tomogram{_rounded(placed, unit, count)}"


def _rounded(placed: Placed, unit: float, count: float) -> str:
    """Tell where a binning that is taken for whole moves particles, if it is not, by half a voxel or more."""
    size = placed.tomogram.voxel_size
    if not size or abs(size / unit / count - 1) * max(placed.tomogram.shape) < _HALF_A_VOXEL:
        return ""
    return f" (taken for whole, as headers round; {size:.5g} Å over {unit:.5g} Å is {size / unit:.5g})"


def _teller(particles: ParticleList, unit_size: float | None) -> str:
    if unit_size is not None:
        return "dataset.coordinate_size"
    return "the list" if particles.unit == "angstrom" or particles.unit_sizes is not None else "tomograms.star"


def _centred(particles: ParticleList, placed: Placed, unit_size: float | None) -> str:
    tilt = tilt_size_of(particles, placed, unit_size)
    assert tilt is not None
    binning, unbinned = binning_of(particles, placed, tilt), placed.described.unbinned
    if not (unit_size or particles.unit_sizes is not None or placed.described.tilt_size):
        return "Å from the centre of the tomogram, as no size of the tilt series is stated"
    size = "of the tomogram's size" if unbinned is None else f"{times([int(edge) for edge in unbinned])} (x y z)"
    told = "" if placed.described.binning else _rounded(placed, tilt, binning)
    return f"Å from the centre of a volume {size}, in pixels of {tilt:g} Å binned by {binning:.4g}{told}"
