"""Boxes cut on the fly from tomograms, around the particles of a list."""

from __future__ import annotations

import os
from collections.abc import Collection, Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from cryoreg.contracts import Box, Contrast, Origin, Sample, Subtomograms, TiltAxis
from cryoreg.datasets.io.class_columns import class_labels
from cryoreg.datasets.io.volume_files import refuse, together
from cryoreg.datasets.io.voxel_sizes import SAME_VOXEL_SIZE, same_size
from cryoreg.datasets.particles.assumptions import assumptions
from cryoreg.datasets.particles.carried import Carried, single
from cryoreg.datasets.particles.coinciding import note_on, same_places
from cryoreg.datasets.particles.contradictions import check_statements, contradicts_one_angstrom, notes_on_tomogram
from cryoreg.datasets.particles.coordinates import Placed, check_inside, in_voxels, tilt_size_of
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.datasets.particles.particle_list import ParticleList
from cryoreg.datasets.rows_of_lists import rows_of
from cryoreg.datasets.tomograms.files import Tomogram, against_headers, cut, header_sizes, notes_on, open_tomogram
from cryoreg.datasets.tomograms.index_files import is_index
from cryoreg.datasets.tomograms.matching import bare
from cryoreg.datasets.tomograms.names import Described, describe_tomograms, find_above, stem
from cryoreg.errors import DataError, MixedVoxelSizesError

_FEW = 0.05
"""The fraction of boxes that may reach beyond their tomograms without a question."""


class ParticleBoxes(Subtomograms):
    """A `SubtomogramDataset` of particles and their tomograms; a box's voxel edge // 2 lies on the particle.

    Voxels are read when a sample is asked for. An id is the tomogram's name and the row of its list, counted from 0:
    ``TS_01/17``; groups are the tomograms. No file stays open.
    """

    def __init__(
        self,
        particles: ParticleList,
        placed: Sequence[Placed],
        box: int,
        rescale_to: float | None = None,
        coordinate_size: float | None = None,
        label: str | None = None,
    ) -> None:
        """Take particles and the tomograms in which they are; ``label`` is the column that holds the class.

        Raises `DataError`, one line, where a particle lies outside of its tomogram, a box is larger than it in x or y
        (tomograms may be thin along z), or voxel sizes differ.
        """
        self.path, self._rows = particles.path, particles.rows
        self.positions = self.places = locate(particles, placed, coordinate_size)
        """(N, 3): x, y, z in voxels of the tomogram, the first voxel being 0."""
        classes, labels = class_labels(particles.path, particles.columns, label or particles.label)
        self.classes: Sequence[str] = classes
        self.labels: Sequence[int | None] = labels
        self.tomograms = [each.tomogram for each in placed]
        """In which the particles are."""
        self.which: NDArray[np.int64] = np.empty(len(particles), dtype=np.int64)
        """(N,): the number of each particle's tomogram."""
        for number, each in enumerate(placed):
            self.which[each.rows] = number
        tilts = [each.described.tilt_range for each in placed]
        self._tilt_ranges = particles.tilt_ranges or [tilts[number] for number in self.which]
        self.tilt_range = _common(self._tilt_ranges)
        self.voxel_size = rescale_to or _common_size(self.tomograms)
        self._halves = np.stack([_half(particles, each, coordinate_size) for each in placed])
        self._steps = [_step(tomogram, rescale_to) for tomogram in self.tomograms]
        for tomogram, step in zip(self.tomograms, self._steps, strict=True):
            _check_width(tomogram, box, step)
        self.box: Box = (box, box, box)
        names = [group_of(particles.named[each.rows[0]], each.tomogram) for each in placed]
        self.groups: Sequence[str | None] = [names[number] for number in self.which]
        rows = zip(self.groups, self._rows, strict=True)
        self.ids: Sequence[str] = [f"{group}/{row}" for group, (_, row) in rows]
        self._same = same_places(self.which, self.places)
        coinciding = [note_on(self._same, self.labels)] if self._same else []
        self.notes: Sequence[str] = [*together(notes_on(self.tomograms)), *self._reaching_out(), *coinciding]

    @cached_property
    def duplicates(self) -> Sequence[Hashable] | None:
        """A key that particles at the very same place share, None for others; None where no two are at one."""
        return self._same

    def _reaching_out(self) -> list[str]:
        """Return a line on the boxes that reach beyond their tomograms."""
        steps = np.array(self._steps)[self.which, None]
        shapes = np.array([tomogram.shape[::-1] for tomogram in self.tomograms])[self.which]
        start = self.places - steps * (self.box[0] // 2)
        beyond = (start < -0.5) | (start + steps * (self.box[0] - 1) > shapes - 0.5)
        rows = np.flatnonzero(beyond.any(axis=1))
        if not len(rows):
            return []
        many = "; these are many: do unit, tomograms and box fit?" if len(rows) > _FEW * len(self) else ""
        return [
            f"{len(rows)} of {len(self)} boxes reach beyond their tomograms (the first: {self.ids[rows[0]]}); "
            f"the outermost voxels are repeated there{many}"
        ]

    def origin(self, index: int) -> Origin:
        """Return the list and row of particle ``index``, the voxel size of its tomogram, and its place there."""
        voxel_size = self.tomograms[self.which[index]].voxel_size
        place = None if voxel_size is None else self._from_middle[index]
        return Origin(*self._rows[index], voxel_size, self._tilt_ranges[index], place)

    @cached_property
    def _from_middle(self) -> list[tuple[float, float, float]]:
        """The place of each, x y z in Å from half the size of its tomogram, as RELION 5 counts; NaN of unknown size."""
        sizes = np.array([[tomogram.voxel_size or np.nan] for tomogram in self.tomograms])
        return [(x, y, z) for x, y, z in (self.places * sizes[self.which] - self._halves[self.which]).tolist()]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        """Cut one box; raise `DataError` where its voxels are at fault."""
        number = self.which[index]
        tomogram = self.tomograms[number]
        try:
            volume, _ = cut(tomogram, self.places[index, ::-1], self.box, self._steps[number])
        except DataError as error:
            file, row = self._rows[index]
            raise DataError(f"{error} (row {row} of {file})") from None
        if volume.min() == volume.max():
            file, row = self._rows[index]
            raise DataError(
                f"{file}: the box of row {row} in {tomogram.path} is constant (every voxel is "
                f"{volume.flat[0]:g}), as in the padding of a tomogram; remove the row"
            )
        return Sample(torch.from_numpy(volume)[None], self.labels[index], self.ids[index], self.groups[index])

    def overruled_by(self, voxel_size: float | None) -> bool:
        """Tell whether a voxel size (Å) that is told of the tomograms contradicts a header."""
        return against_headers([tomogram.path for tomogram in self.tomograms], voxel_size)


class TomogramParticles(ParticleBoxes):
    """The particles of a list in a file; lists, names and headers are read at the start."""

    contrasts: Collection[str | None] = ()
    """How density looks in the tomograms, as the list says, where it says so."""
    axes: Collection[str | None] = ()
    """About which axes their tilts are, likewise."""

    def __init__(
        self,
        root: str | Path,
        tomograms: str | Path | None = None,
        *,
        box: int,
        voxel_size: float | None = None,
        rescale_to: float | None = None,
        coordinate_size: float | None = None,
        label: str | None = None,
    ) -> None:
        """Open a list; see `TomogramSpec`. Raises `DataError`, one line, for bad input."""
        particles = read_particle_list(root, unit_told=coordinate_size is not None)
        place = None if tomograms is None else Path(tomograms)
        placed = place_particles(particles, place, voxel_size, coordinate_size)
        super().__init__(particles, placed, box, rescale_to, coordinate_size, label)
        lists = particles.parts or [particles]
        told = {each.path: rows_of(each.path) if coordinate_size else each.digest for each in lists}
        self.lists = {path: digest for path, digest in told.items() if digest}
        self.notes = [*self.notes, *assumptions(particles, placed, self.places, coordinate_size)]
        self.notes = [*self.notes, *_on_tables(particles, place)]
        self._take_over(particles.carried, place is None or particles.carried.files is None)

    def _take_over(self, carried: Carried, own: bool) -> None:
        """Take what the list says of its tomograms; how density looks in them only where they are its ``own``."""
        axis, contrast = single(carried.tilt_axes or ()), single(carried.contrasts or ())
        self.axes = set(carried.tilt_axes or ()) - {None}
        self.tilt_axis = cast(TiltAxis | None, axis)
        notes = [*self.notes, *self._of_some("tilts are about", self.axes, axis, "tilt_axis")]
        if own:
            self.contrasts = set(carried.contrasts or ()) - {None}
            self.contrast = cast(Contrast | None, contrast)
            notes += self._of_some("density is", self.contrasts, contrast, "contrast")
        if self.contrast:
            notes.append(f"density is {contrast} in the tomograms, as {self.path} says")
        elif contrast:
            notes.append(
                f"{self.path} says that density is {contrast} in the tomograms that it names, which is not taken of "
                f"others; if it holds for them, say --set dataset.contrast={contrast}"
            )
        self.notes = notes

    def _of_some(self, what: str, told: Collection[str | None], all_: str | None, setting: str) -> list[str]:
        """Return a note on what is told of some tomograms alone."""
        if len(told) != 1 or all_:
            return []
        (one,) = told
        note = f"{what} {one} in some of the tomograms, as {self.path} says, and not known of others"
        return [f"{note}; where it is so in all, say --set dataset.{setting}={one}"]


def place_particles(
    particles: ParticleList, tomograms: Path | None, voxel_size: float | None, unit_size: float | None = None
) -> list[Placed]:
    """Return the tomograms of a list, opened, each with the rows of its particles.

    ``voxel_size`` and ``unit_size`` (Å) are what the user says of voxels and of the unit of coordinates. Without
    ``tomograms``, files that the list names are meant, where they are there.
    """
    by_number = _by_number(particles, tomograms)
    if particles.contradiction and not by_number:
        refuse(particles.path, f"{particles.contradiction}; say --set dataset.tomograms=<one of the two>")
    rows, placed = _rows_of(by_number or particles.tomograms), []
    listed = {name: file for name, of in rows.items() if not tomograms and (file := listed_file(particles, of))}
    rest = [name for name in rows if name not in listed]
    found = {name: Described(file) for name, file in listed.items()}
    if rest:
        found |= describe_tomograms(particles.path, rest, tomograms)
    _check_files(particles, found)
    for name in rows:
        described = found[name]
        assert described.file is not None
        picked_at = _picked_at(particles, rows[name], described.file, voxel_size)
        known = voxel_size or picked_at
        tomogram = open_tomogram(described.file, known)
        if not known and contradicts_one_angstrom(particles, rows[name], described, tomogram, unit_size):
            tomogram.voxel_size = None
        if tomogram.voxel_size is None and described.tilt_size and described.binning:
            tomogram.voxel_size = described.tilt_size * described.binning
        tomogram.notes = [*tomogram.notes, *notes_on_tomogram(described, tomogram, known)]
        if picked_at and not voxel_size:
            tomogram.notes = [*tomogram.notes, *_on_picked(described.file, picked_at)]
        placed.append(Placed(tomogram, described, rows[name]))
    return placed


def _check_files(particles: ParticleList, found: Mapping[str | None, Described]) -> None:
    """Raise `DataError` where names of two tomograms lead to one file, as links do."""
    names = dict[str, str]()
    for name, described in found.items():
        if name is None or described.file is None:
            continue
        first = names.setdefault(os.path.realpath(described.file), name)
        if bare(first) != bare(name):
            refuse(
                particles.path,
                f"names the tomograms '{first}' and '{name}', which are one file ({described.file} is a link); name it "
                "in one way, or put the other one there",
            )


def _rows_of(names: Sequence[str | None]) -> dict[str | None, NDArray[np.int64]]:
    """Return the rows of each name, in the order in which the names are first met."""
    number: dict[str | None, int] = {}
    numbers = np.array([number.setdefault(name, len(number)) for name in names])
    ends = np.cumsum(np.bincount(numbers))[:-1]
    return dict(zip(number, np.split(np.argsort(numbers, kind="stable"), ends), strict=True))


def listed_file(particles: ParticleList, rows: NDArray[np.int64]) -> str | None:
    """Return the file that a list names for the tomogram of some rows, where it is there."""
    files = particles.carried.files
    name = single(files[row] for row in rows) if files else None
    return find_above(name, Path(particles.path).parent) if name else None


def _picked_at(particles: ParticleList, rows: NDArray[np.int64], file: str, told: float | None) -> float | None:
    """Return the voxel size with which rows were picked, Å, where that was in this file; ``told`` must not differ."""
    listed, sizes = listed_file(particles, rows), particles.carried.voxel_sizes
    if listed is None or sizes is None or not os.path.samefile(listed, file):
        return None
    size = float(sizes[rows[0]])
    if told is not None and not same_size(size, told):
        refuse(
            particles.path,
            f"was picked in {file} with voxels of {size:g} Å, and dataset.voxel_size is {told:g}; pick again with "
            f"--voxel-size {told:g}, or leave it at {size:g}",
        )
    return size


def _on_picked(file: str, size: float) -> list[str]:
    """Return a note where a file says another voxel size by now than it was picked with; 1 Å is none."""
    own = header_sizes([file]).get(file)
    if own in (None, 1.0) or same_size(own, size):
        return []
    return [
        f"has voxels of {own:.4g} Å by its header, and was picked with {size:.4g} Å, as which it is read; if it was "
        "reconstructed anew since, pick again"
    ]


def _by_number(particles: ParticleList, tomograms: Path | None) -> Sequence[str | None] | None:
    """Return the numbers of tomograms in a list, where the user gives the files of these numbers; else None."""
    if particles.numbers is None or tomograms is None or not is_index(tomograms):
        return None
    return [None if number is None else str(number) for number in particles.numbers]


def _on_tables(particles: ParticleList, tomograms: Path | None) -> list[str]:
    """Return a note on what gave the numbers of tomograms names that nobody named for it."""
    if not particles.tables or _by_number(particles, tomograms):
        return []
    return [f"tomograms are those of their numbers in {' and '.join(particles.tables)}, beside the list"]


def locate(particles: ParticleList, placed: Sequence[Placed], unit_size: float | None) -> NDArray[np.float64]:
    """Return each particle's place, x y z in voxels of its tomogram (N, 3); raise `DataError` where one is outside."""
    check_statements(particles, placed, unit_size)
    places = np.empty((len(particles), 3))
    for each in placed:
        places[each.rows] = in_voxels(particles, each, unit_size)
    check_inside(particles, placed, places, unit_size)
    return places


def _half(particles: ParticleList, placed: Placed, unit_size: float | None) -> NDArray[np.float64]:
    """Return half the size of a tomogram, x y z in Å: of that before binning where told; NaN where nothing is."""
    described, tomogram = placed.described, placed.tomogram
    tilt = tilt_size_of(particles, placed, unit_size) if particles.unit == "centred" else described.tilt_size
    if described.unbinned is not None and tilt:
        return described.unbinned * tilt / 2
    return np.array(tomogram.shape[::-1]) * (tomogram.voxel_size or np.nan) / 2


def _common_size(tomograms: Sequence[Tomogram]) -> float | None:
    """Return the voxel size of all tomograms; raise `MixedVoxelSizesError` where two differ."""
    first = tomograms[0]
    for other in tomograms:
        sizes = first.voxel_size or 0.0, other.voxel_size or 0.0
        if abs(sizes[0] - sizes[1]) > SAME_VOXEL_SIZE * max(sizes):
            a, b = (f"{size:.4g} Å" if size else "none" for size in sizes)
            raise MixedVoxelSizesError(
                f"mixed voxel sizes: {first.path} has {a} and {other.path} {b}; say --set dataset.rescale_to=<Å>, or "
                "overrule the files with --set dataset.voxel_size=<Å>"
            )
    return first.voxel_size


def _step(tomogram: Tomogram, rescale_to: float | None) -> float:
    """Return the voxels of a tomogram for each voxel of a box."""
    if rescale_to is None:
        return 1.0
    if tomogram.voxel_size is None:
        refuse(tomogram.path, "has no voxel size to rescale from; say --set dataset.voxel_size=<Å>")
    return rescale_to / tomogram.voxel_size


def _check_width(tomogram: Tomogram, box: int, step: float) -> None:
    """Raise `DataError` where the middles of a box's outer voxels are farther apart than a tomogram's faces."""
    height, width = tomogram.shape[1:]
    if step * (box - 1) > min(height, width):
        wide = f"{box} voxels" if step == 1 else f"{box} voxels, {step * box:.4g} of its own,"
        refuse(
            tomogram.path,
            f"is {width} voxels wide along x and {height} along y, too small for boxes of {wide}; "
            "say --set dataset.box=<fewer voxels>",
        )


def group_of(name: str | None, tomogram: Tomogram) -> str:
    """Return what a tomogram is called in ids and as a group: as its list names it, else as its file."""
    return stem(tomogram.path) if name is None or name.isdecimal() else stem(os.fspath(name))


def _common(tilt_ranges: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
    different = set(tilt_ranges)
    return different.pop() if len(different) == 1 else None
