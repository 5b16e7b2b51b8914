"""What a list, tomograms.star and the tomograms say of each other: where it contradicts, nothing is cut."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.columns import texts, triples
from cryoreg.datasets.io.volume_files import refuse, times
from cryoreg.datasets.io.voxel_sizes import same_size
from cryoreg.datasets.particles.coordinates import Placed, binning_of, ratio, tilt_size_of, unit_of
from cryoreg.datasets.particles.particle_list import ParticleList
from cryoreg.datasets.tomograms.files import Tomogram
from cryoreg.datasets.tomograms.matching import named_files
from cryoreg.datasets.tomograms.names import Described

_ANGSTROM = 1.0
_MOST_NAMES = 10_000
"""Columns with more values are none of tomograms."""
_ROUNDED = 2.0
"""So many voxels a tomogram may differ from the size told: programs make binned sizes even."""


def check_statements(particles: ParticleList, placed: Sequence[Placed], unit_size: float | None) -> None:
    """Raise `DataError`, one line, where unit or frame of the coordinates are told in two ways, or for some only.

    ``unit_size`` (Å per unit) is what the user says of the unit.
    """
    if unit_size is None and particles.unit == "voxel" and not particles.are_fractions:
        _check_one_unit(particles, placed)
        _check_levels(particles, placed)
    _check_named(particles, placed)
    _check_called(particles, placed)
    for each in placed:
        if each.tomogram.top_first and (particles.from_corner or particles.unit == "middle"):
            refuse(
                each.tomogram.path,
                f"is TIFF, whose rows IMOD and EMAN2 count from the last, so that they see it mirrored, and "
                f"{particles.path} is a list of theirs; convert it to MRC (tif2mrc)",
            )
        if unit_size is None:
            _check_told_size(particles, each)
            _check_tilt_size(particles, each)
            _check_image_size(particles, each)
        if particles.unit == "centred" or (unit_size is None and relion.TOMOGRAM in particles.columns):
            _check_size(particles, each, unit_size)
        if particles.unit == "centred":
            _check_corner(particles, each, unit_size)


def _check_named(particles: ParticleList, placed: Sequence[Placed]) -> None:
    """Raise `DataError` where a column that is not read as the tomogram's name has that of the only one, and others."""
    if len(placed) > 1 or any(particles.tomograms) or particles.parts:
        return
    file = os.path.basename(placed[0].tomogram.path)
    for column, names, distinct in _unread_texts(particles):
        own = named_files(distinct, [file])
        other = next((name for name in distinct if name not in own), None)
        if own and other is not None:
            refuse(
                particles.path,
                f"names tomograms in its column {column}, where it has '{other}' in {particles.row(names.index(other))}"
                f" and the name of {file} elsewhere; call it tomogram (in STAR {relion.TOMOGRAM}), or split the list",
            )


def _check_called(particles: ParticleList, placed: Sequence[Placed]) -> None:
    """Raise `DataError` where a list of a folder is called as one tomogram, and has the name of another in a column.

    What is the same in all lists names none.
    """
    if not particles.parts:
        return
    files = {row: os.path.basename(each.tomogram.path) for each in placed for row in each.rows.tolist()}
    known = sorted(set(files.values()))
    for column, names, distinct in _unread_texts(particles):
        meant = named_files(distinct, known) if len(distinct) > 1 else {}
        for row, name in enumerate(names):
            if name in meant and particles.named[row] is None and row in files and files[row] not in meant[name]:
                refuse(
                    particles.path,
                    f"has '{name}' in the column {column} of {particles.row(row)}, and that list is taken to be of "
                    f"{files[row]}, as which it is called; call the column tomogram, or leave it away",
                )


def _unread_texts(particles: ParticleList) -> Iterator[tuple[str, list[str | None], list[str]]]:
    """Yield columns of texts without classes: name, each row's text, and all that differ, few enough for tomograms."""
    for column in particles.columns.columns.difference([*particles.class_columns]):
        if not is_numeric_dtype(particles.columns[column]):
            names = texts(particles.columns, column)
            distinct = [name for name in dict.fromkeys(names) if name]
            if len(distinct) <= _MOST_NAMES:
                yield column, names, distinct


def _check_one_unit(particles: ParticleList, placed: Sequence[Placed]) -> None:
    without = [each for each in placed if unit_of(particles, each) is None]
    if not without or relion.TOMOGRAM not in particles.columns:
        return
    name = particles.tomograms[without[0].rows[0]]
    others = "though tomograms.star does for others" if len(without) < len(placed) else "and tomograms.star lacks it"
    if len(without) < len(placed) or without[0].described.absent:
        refuse(
            particles.path,
            f"has coordinates in '{name}' whose unit nobody states, {others} ({relion.TILT_SIZE}); add '{name}' to "
            "tomograms.star, or say --set dataset.coordinate_size=<Å>",
        )


def _check_levels(particles: ParticleList, placed: Sequence[Placed]) -> None:
    """Raise `DataError` where voxels may be those of the level that is read, or of the finest one."""
    for each in placed:
        tomogram = each.tomogram
        if tomogram.finest_size and tomogram.voxel_size and unit_of(particles, each) is None:
            finest, own = tomogram.finest_size, tomogram.voxel_size
            refuse(
                particles.path,
                f"has coordinates in voxels of an untold size, and of {tomogram.path} a level of {own:g} Å "
                f"is read where the finest has {finest:g} Å; say --set dataset.coordinate_size={finest:g}, or {own:g}",
            )


def _check_image_size(particles: ParticleList, placed: Placed) -> None:
    """Raise `DataError` where particles were picked in a larger volume than the tomogram: binned, or trimmed since."""
    if particles.image_sizes is None:
        return
    made_in = particles.image_sizes[placed.rows[0]]
    unit, size, shape = unit_of(particles, placed), placed.tomogram.voxel_size, placed.tomogram.shape[::-1]
    scale = ratio(unit, size, True) if unit and size else 1.0
    if (made_in * scale <= np.array(shape) + _ROUNDED).all():
        return
    shares = made_in / shape
    binned = size and np.ptp(shares) * max(shape) <= _ROUNDED * shares.mean()
    refuse(
        particles.path,
        f"was made in a volume of {times([round(edge) for edge in made_in])} voxels (x y z), and "
        f"{placed.tomogram.path} has {times(shape)}; give the one in which it was made, neither trimmed nor turned"
        + (
            f", or if it was binned since, say --set dataset.coordinate_size={size / shares.mean():.4g}"
            if binned
            else ""
        ),
    )


def _check_told_size(particles: ParticleList, placed: Placed) -> None:
    """Raise `DataError` where a list tells of other voxels than those of the tomogram, which its places seem to count.

    1 Å says nothing: programs write it that know of no size.
    """
    size = placed.tomogram.voxel_size
    if particles.told_sizes is None or size is None or size == _ANGSTROM:
        return
    for row in placed.rows.tolist():
        told = float(particles.told_sizes[row])
        if np.isfinite(told) and told != _ANGSTROM and not same_size(told, size):
            refuse(
                particles.path,
                f"tells of {told:g} Å per pixel in {particles.row(row)}, and {placed.tomogram.path} has {size:g} Å: "
                f"say --set dataset.coordinate_size={told:g} if its places count those, or {size:g} if they were "
                "scaled since",
            )


def _check_tilt_size(particles: ParticleList, placed: Placed) -> None:
    told = placed.described.tilt_size
    if told is None or relion.TILT_SIZE not in particles.columns or particles.unit_sizes is None:
        return
    listed = float(particles.unit_sizes[placed.rows[0]])
    if not same_size(listed, told):
        refuse(
            particles.path,
            f"says {relion.TILT_SIZE} {listed:g} for '{particles.tomograms[placed.rows[0]]}', and tomograms.star "
            f"{told:g}; mend one, or say --set dataset.coordinate_size=<Å>",
        )


def _check_size(particles: ParticleList, placed: Placed, unit_size: float | None) -> None:
    """Raise `DataError` where a tomogram has not the size or the binning that tomograms.star tells."""
    described, size = placed.described, placed.tomogram.voxel_size
    tilt = tilt_size_of(particles, placed, unit_size) if particles.unit == "centred" else described.tilt_size
    if tilt is None or (described.binning is None and size is None):
        return
    binning = binning_of(particles, placed, tilt)
    if described.unbinned is None:
        return
    for axis, told, edge in zip(
        relion.TOMOGRAM_SIZE, described.unbinned / binning, placed.tomogram.shape[::-1], strict=True
    ):
        if abs(told - edge) > _ROUNDED:
            refuse(
                placed.tomogram.path,
                f"has {edge} voxels along {axis[-1].lower()}, but {axis} over the binning ({binning:.4g}) is "
                f"{told:.4g}: trimmed, or another reconstruction, so that places in it are not known; give the "
                "tomogram of which tomograms.star tells, or a table without rlnTomoSize",
            )


def _check_corner(particles: ParticleList, placed: Placed, unit_size: float | None) -> None:
    """Raise `DataError` where coordinates from the corner, beside those from the centre, tell of other places.

    They may count voxels of the tilt series, of the tomogram or of the images.
    """
    corner = triples(particles.path, particles.columns.iloc[placed.rows], relion.COORDINATES)
    tilt, size = tilt_size_of(particles, placed, unit_size), placed.tomogram.voxel_size
    if corner is None or tilt is None:
        return
    xyz = particles.coordinates[placed.rows]
    binning = binning_of(particles, placed, tilt)
    told = placed.described.unbinned
    unbinned = np.array(placed.tomogram.shape[::-1]) * binning if told is None else told
    places = xyz / tilt + unbinned / 2
    images = relion.image_sizes(particles.path, particles.columns)[placed.rows[0]]
    units = [unit for unit in (tilt, size, images) if unit]
    apart = [np.abs(corner * unit / tilt - places).max(axis=1) / max(1.0, unit / tilt) for unit in units]
    bad = np.flatnonzero(np.min(apart, axis=0) > _ROUNDED * max(1.0, binning))
    if len(bad):
        refuse(
            particles.path,
            f"says other places by {relion.CENTRED[0]} than by {relion.COORDINATES[0]}, the first in "
            f"{particles.row(placed.rows[bad[0]])}; take out those that are old",
        )


def contradicts_one_angstrom(
    particles: ParticleList, rows: NDArray[np.int64], described: Described, tomogram: Tomogram, unit_size: float | None
) -> bool:
    """Tell whether a header's 1 Å, which programs write that know of no size, goes against what is known otherwise."""
    if tomogram.voxel_size != _ANGSTROM:
        return False
    stated = [] if particles.unit_sizes is None else particles.unit_sizes[rows].tolist()
    known = [*stated, *filter(None, (described.tilt_size, unit_size))]
    return particles.unit == "angstrom" or not all(same_size(_ANGSTROM, size) for size in known)


def notes_on_tomogram(described: Described, tomogram: Tomogram, told: float | None) -> list[str]:
    """Return what is guessed of a tomogram: that it is the one meant, and its 1 Å, where the user ``told`` none."""
    one = [] if told or tomogram.voxel_size != _ANGSTROM else [_ONE]
    return [*([described.guess] if described.guess else []), *one]


_ONE = (
    "has voxels of exactly 1 Å by its header, as programs write that know of no size; if they have another, say "
    "--set dataset.voxel_size=<Å>"
)
