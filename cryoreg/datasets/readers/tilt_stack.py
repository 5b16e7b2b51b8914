"""Subtomograms that are reconstructed, as they are read, from the 2D tilt images of RELION 5 and WarpTools."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.contracts import Origin, TiltAxis
from cryoreg.datasets.io import relion, relion_tables
from cryoreg.datasets.io.class_columns import class_labels
from cryoreg.datasets.io.columns import numbers
from cryoreg.datasets.io.mrc import read_image_header, read_images
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.readers.reconstructed import ReconstructedDataset
from cryoreg.datasets.readers.stack_headers import check_edges, common_edge, common_size
from cryoreg.datasets.readers.star_images import find_images
from cryoreg.datasets.tilt_stacks.files import find_files
from cryoreg.datasets.tilt_stacks.particles import read_particles
from cryoreg.datasets.tilt_stacks.reconstruction import Reconstructed
from cryoreg.datasets.tilt_stacks.series import read_series
from cryoreg.datasets.tomograms.names import stem

_Tilts = tuple[TiltAxis | None, tuple[float, float] | None]


class TiltStack(ReconstructedDataset):
    """The particles of an optimisation set, or of a STAR file beside its tomograms': a stack of tilt images for each.

    Volumes lie in the frame of the tomogram, whatever the poses, with the particle (coordinate − origin) in the middle.
    Ids are the names of the stacks, groups the tomograms.
    """

    def __init__(
        self,
        root: str | Path,
        tomograms: str | Path | None = None,
        *,
        voxel_size: float | None = None,
        folder: str | Path | None = None,
        coordinate_size: float | None = None,
        wiener: float = 0.1,
        label: str | None = None,
    ) -> None:
        """Open a set; see `TiltStackSpec`. Raises `DataError`, one line, which names the file and the column."""
        found = find_files(Path(root), None if tomograms is None else Path(tomograms))
        self.path, self.optimisation_set, self._wiener = found.particles, found.optimisation_set, wiener
        table = relion_tables.read_particles(self.path)
        _check_columns(self.path, table)
        self._names = [str(name) for name in table[relion.TOMOGRAM]]
        self._series = read_series(found.tomograms, self.path, table)
        files = _whole_files(self.path, table, folder)
        headers = {file: read_image_header(file) for file in dict.fromkeys(files)}
        edge = common_edge(headers)
        check_edges(self.path, table, edge)
        size = voxel_size or common_size(self.path, table, headers)
        self._particles = read_particles(self.path, table, self._series, size, coordinate_size)
        self.positions = self._particles.positions + self._particles.shifts
        for row, file in enumerate(files):
            self._check_stack(row, headers[file].stored[0])
        classes, labels = class_labels(self.path, table, label)
        super().__init__(
            files=files,
            slots=[None] * len(files),
            ids=[str(name) for name in table[relion.IMAGE]],
            labels=labels,
            classes=classes,
            box=(edge, edge, edge),
            voxel_size=size,
        )
        self._size = size
        self.groups = [stem(name) for name in self._names]
        self._tilts = self._measured()
        self.tilt_axis: TiltAxis | None = _only(axis for axis, _ in self._tilts)
        self.tilt_range: tuple[float, float] | None = _only(tilts for _, tilts in self._tilts)
        self.notes = self._particles.notes

    def _check_stack(self, row: int, images: int) -> None:
        """Raise `DataError` unless a stack holds an image of each tilt, or of those alone at which it is seen."""
        seen = self._particles.seen[row]
        if images not in (len(seen), int(seen.sum())):
            refuse(
                self.path,
                f"sees {int(seen.sum())} of {len(seen)} tilts in row {row} ({relion.VISIBLE}), but its stack has "
                f"{images} images, neither all nor those; extract it again",
            )

    def _measured(self) -> list[_Tilts]:
        """Return tilt axis and range of each particle; those that are seen at the same tilts share them."""
        known: dict[tuple[str, bytes], _Tilts] = {}
        for name, seen in zip(self._names, self._particles.seen, strict=True):
            if (name, seen.tobytes()) not in known:
                known[name, seen.tobytes()] = self._series[name].tilt(seen)
        return [known[name, seen.tobytes()] for name, seen in zip(self._names, self._particles.seen, strict=True)]

    def origin(self, index: int) -> Origin:
        """Return the row of particle ``index`` in its STAR file, its voxel size and tilts."""
        return Origin(self.path, index, self._size, self._tilts[index][1])

    def reconstruct(self, index: int) -> Reconstructed:
        """Return the volume of a particle, and the weight of each of its Fourier coefficients."""
        known, seen, name = self._particles, self._particles.seen[index], self._names[index]
        return self._projector(name, self._series[name], self._size).reconstruct(
            self._images(index, seen),
            seen,
            known.positions[index],
            known.shifts[index],
            bool(known.premultiplied[index]),
            self._wiener,
        )

    def _images(self, index: int, seen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return an image for each tilt; those at which the particle is not seen may be empty."""
        images = read_images(self.files[index])
        if images.shape[1:] != self.box[1:] or len(images) not in (len(seen), seen.sum()):
            refuse(self.files[index], "has changed its size since the data set was opened; start again")
        if len(images) == len(seen):
            return images
        every = np.zeros((len(seen), *images.shape[1:]), np.float32)
        every[seen] = images
        return every


def _check_columns(path: str, table: pd.DataFrame) -> None:
    """Raise `DataError` where a table lists no stacks of 2D images, or not their tomograms."""
    for column, what in ((relion.IMAGE, "stacks of images"), (relion.TOMOGRAM, "tomograms")):
        if column not in table:
            refuse(path, f"has no column {column}, and so no {what}; give the particles of a RELION 5 or WarpTools job")
    flat = relion.flat_column(path, table)
    if flat is None:
        refuse(path, f"lists volumes, not stacks of 2D images ({relion.FLAT_STACKS} is not 1); say --dataset star")
    if relion.DIMENSIONALITY in table:
        solid = np.flatnonzero(numbers(path, table, relion.DIMENSIONALITY) != 2)
        if len(solid):
            told = f"{relion.DIMENSIONALITY} {table[relion.DIMENSIONALITY][solid[0]]} in row {solid[0]}"
            refuse(path, f"lists stacks of 2D images ({flat}), but says {told}; mend it, or split the list")


def _whole_files(path: str, table: pd.DataFrame, folder: str | Path | None) -> list[str]:
    images = find_images(path, table, folder)
    slot = next((row for row, image in enumerate(images) if image.slot is not None), None)
    if slot is not None:
        refuse(
            path,
            f"names one image, '{table[relion.IMAGE][slot]}', in row {slot} ({relion.IMAGE}), where the stack of all "
            "tilts of a particle is expected; export particles as RELION 5 and WarpTools do",
        )
    return [image.file for image in images]


def _only(values: Iterable[Any]) -> Any:
    """Return the value that all have; None where they differ."""
    distinct: Sequence[Any] = list(set(values))
    return distinct[0] if len(distinct) == 1 else None
