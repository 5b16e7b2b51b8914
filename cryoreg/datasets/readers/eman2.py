"""Particles that EMAN2 extracted: 3D images in HDF5, alone, in a folder, or as a list names them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.contracts import Origin
from cryoreg.datasets.io.class_columns import class_labels
from cryoreg.datasets.io.eman2_images import Stored, image_numbers, named_label, read_image, read_stored
from cryoreg.datasets.io.eman2_lists import Row, is_list, read_rows
from cryoreg.datasets.io.volume_files import is_hdf5, name_of_slot, refuse
from cryoreg.datasets.readers.class_folders import ClassFolders, FileKind, find_files
from cryoreg.datasets.readers.file_dataset import FileDataset
from cryoreg.datasets.readers.mrc_files import common_geometry_of
from cryoreg.datasets.tomograms.names import find_above
from cryoreg.folders import ending

STACKS = FileKind("stacks of EMAN2", ".hdf, .h5, .hdf5")
_UNTOLD = 1.0
"""Å per voxel that EMAN2 writes where it knows of none."""


class _Particle(NamedTuple):
    """Where one subtomogram lies, and what it is called."""

    file: str
    number: int
    id: str
    origin: tuple[str, int]
    """The file and row that list or hold it."""


class Eman2(FileDataset):
    """EMAN2's 3D images: a stack (``.hdf``), a folder of them, or of folders that are classes, or a list (``.lst``).

    Ids are ``stack/number``, numbers being EMAN2's, from 0; tomograms are those that the images name, or that their
    stack is named for. Nothing is inverted: e2spt_extract makes density bright, but its files do not say so.
    """

    def __init__(
        self,
        root: str | Path,
        voxel_size: float | None = None,
        folder: str | Path | None = None,
        label: str | None = None,
    ) -> None:
        """Open them; ``voxel_size`` (Å) overrules the headers.

        Relative names in a list start in ``folder``, else in the folder of the list or one above it. ``label`` is what
        holds the class: a name in the list, or an attribute of the images. Raises `DataError`, one line, for bad input.
        """
        listed = os.path.isfile(root) and (ending(os.fspath(root)) == ".lst" or is_list(root))
        if listed:
            rows = read_rows(os.fspath(root))
            particles = _of_list(os.fspath(root), rows, folder)
            said = pd.DataFrame([row.said or {} for row in rows])
        else:
            found = find_files(root, STACKS, single=True)
            particles = _of_stacks(found)
        self._stored = _headers(particles, None if listed else label)
        named = [name_of_slot(each.file, each.number) for each in particles]
        box, size = common_geometry_of(zip(named, self._stored, strict=True), voxel_size)
        notes: list[str] = []
        if listed or label is not None:
            table = said if listed else pd.DataFrame({label: [each.label for each in self._stored]})
            classes, labels = class_labels(os.fspath(root), table, label)
        else:
            classes, labels, notes = _classes_of_stacks(found, particles)
        self.notes = [*notes, *_notes(size, voxel_size, named)]
        self._origins = [each.origin for each in particles]
        super().__init__(
            files=[each.file for each in particles],
            slots=[each.number for each in particles],
            ids=[each.id for each in particles],
            labels=labels,
            classes=classes,
            box=box,
            voxel_size=size,
        )
        self.groups = [each.tomogram for each in self._stored]
        self.positions = _positions(self._stored)

    def origin(self, index: int) -> Origin:
        """Return the file and row that hold or list subtomogram ``index``, its voxel size, and its place."""
        file, row = self._origins[index]
        return Origin(file, row, self.voxel_size, place=self._place(index))

    def _place(self, index: int) -> tuple[float, float, float] | None:
        stored, size = self._stored[index], self.voxel_size
        if not stored.extracted or stored.coordinates is None or size is None:
            return None
        x, y, z = stored.coordinates
        return x * size, y * size, z * size

    def read(self, index: int) -> np.ndarray:
        """Read one image."""
        number = self.slots[index]
        assert number is not None
        return read_image(self.files[index], number, self._stored[index])


def _of_stacks(found: ClassFolders) -> list[_Particle]:
    return [
        _Particle(file, number, f"{stem}/{number}", (file, number))
        for file, stem in zip(found.files, found.stems, strict=True)
        for number in image_numbers(file)
    ]


def _classes_of_stacks(
    found: ClassFolders, particles: Sequence[_Particle]
) -> tuple[list[str], list[int | None], list[str]]:
    """Return the classes by folder, else by the labels in the stacks' names; of each particle its label; notes."""
    if found.classes:
        of_file = dict(zip(found.files, found.labels, strict=True))
        return found.classes, [of_file[each.file] for each in particles], []
    names = {file: named_label(file) for file in found.files}
    classes = sorted({name for name in names.values() if name})
    if len(classes) < 2:
        return [], [None] * len(particles), []
    index: dict[str | None, int] = {name: place for place, name in enumerate(classes)}
    note = f"classes are the labels in the names of the stacks, behind '__': {', '.join(classes)}"
    return classes, [index.get(names[each.file]) for each in particles], [note]


def _of_list(path: str, rows: Sequence[Row], folder: str | Path | None) -> list[_Particle]:
    """Return the images of a list; raise `DataError`, with the row, where a file is not found or an image is twice."""
    files: dict[str, str] = {}
    seen = dict[tuple[str, int], int]()
    particles = []
    for place, row in enumerate(rows):
        if seen.setdefault((row.file, row.number), place) != place:
            first = seen[row.file, row.number]
            refuse(path, f"lists image {row.number} of {row.file} twice (rows {first} and {place}); remove one")
        if row.file not in files:
            files[row.file] = _locate(path, row.file, folder, place)
        particles.append(_Particle(files[row.file], row.number, f"{row.file}/{row.number}", (path, place)))
    return particles


def _locate(path: str, name: str, folder: str | Path | None, row: int) -> str:
    file = find_above(name, Path(path).parent) if folder is None else os.path.join(folder, name)
    if file is None or not os.path.isfile(file):
        refuse(
            path,
            f"names '{name}' in row {row}, which is not in {folder or 'its folder nor in one above it'}; "
            "say --set dataset.folder=<the folder of EMAN2's project>",
        )
    if not is_hdf5(file):
        refuse(path, f"names '{name}' in row {row}, which is no HDF5 file; list EMAN2's stacks (.hdf)")
    return file


def _headers(particles: Sequence[_Particle], label: str | None) -> list[Stored]:
    """Return what the header of each image says; each file is opened once."""
    wanted: dict[str, list[int]] = {}
    for each in particles:
        wanted.setdefault(each.file, []).append(each.number)
    found = {
        (file, number): stored
        for file, numbers in wanted.items()
        for number, stored in zip(numbers, read_stored(file, numbers, label), strict=True)
    }
    return [found[each.file, each.number] for each in particles]


def _notes(size: float | None, told: float | None, named: Sequence[str]) -> list[str]:
    if told or size != _UNTOLD:
        return []
    return [
        f"{named[0]} and others have voxels of exactly 1 Å, which EMAN2 writes where it knows of none; if they have "
        "others, say --set dataset.voxel_size=<Å>"
    ]


def _positions(stored: Sequence[Stored]) -> NDArray[np.float64] | None:
    """Return places in the tomograms, in the unit of the files; None where one is not known."""
    places = [each.coordinates for each in stored if each.coordinates]
    return np.array(places) if len(places) == len(stored) else None
