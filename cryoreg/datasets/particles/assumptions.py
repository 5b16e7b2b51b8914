"""What is assumed of a list's coordinates, in words: unit, frame and binning, and who says so."""

from __future__ import annotations

from collections.abc import Sequence

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


def assumptions(particles: ParticleList, placed: Sequence[Placed], unit_size: float | None) -> list[str]:
    """Return a line for each way in which coordinates are read; ``unit_size`` (Å per unit) is what the user says."""
    return together((each.tomogram.path, f"coordinates: {_frame(particles, each, unit_size)}") for each in placed)


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
    size = "of the tomogram's size" if unbinned is None else f"{times([int(edge) for edge in unbinned])} (x y z)"
    told = "" if placed.described.binning else _rounded(placed, tilt, binning)
    return f"Å from the centre of a volume {size}, in pixels of {tilt:g} Å binned by {binning:.4g}{told}"
