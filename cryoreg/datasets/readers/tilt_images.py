"""Subtomograms that are reconstructed, as they are read, from particle series of Warp 1 and M 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryoreg.contracts import Origin, TiltAxis
from cryoreg.datasets.io import relion, relion_tables
from cryoreg.datasets.io.class_columns import class_labels
from cryoreg.datasets.io.mrc import read_image_header, read_images
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.readers.reconstructed import ReconstructedDataset
from cryoreg.datasets.readers.stack_headers import check_edges, common_edge, common_size
from cryoreg.datasets.readers.star_images import Image, find_images
from cryoreg.datasets.tilt_stacks.image_rows import read_image_rows, series_of
from cryoreg.datasets.tilt_stacks.reconstruction import Reconstructed

_CENTRE = np.zeros(3)


class TiltImages(ReconstructedDataset):
    """The particles of a STAR file that has a row for each of their tilt images.

    Volumes lie in the frame of the tomogram, as far as rows tell of it (`image_rows.tomogram_axes`). Ids are
    ``rlnGroupName``, groups that without its number.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        voxel_size: float | None = None,
        folder: str | Path | None = None,
        wiener: float = 0.1,
        label: str | None = None,
    ) -> None:
        """Open a STAR file; see `TiltStackSpec`. Raises `DataError`, one line, which names the file and the column."""
        self.path, self._wiener = str(root), wiener
        table = relion_tables.read_particles(self.path)
        self._known = read_image_rows(self.path, table)
        images = find_images(self.path, table, folder)
        files = [self._stack(images, index) for index in range(len(self._known.names))]
        self._images = np.array([image.slot for image in images], dtype=np.int64)
        headers = {file: read_image_header(file) for file in dict.fromkeys(files)}
        edge = common_edge(headers)
        check_edges(self.path, table, edge)
        size = voxel_size or common_size(self.path, table, headers)
        classes, labels = class_labels(self.path, table, label)
        super().__init__(
            files=files,
            slots=[None] * len(files),
            ids=list(self._known.names),
            labels=[self._label(labels, index) for index in range(len(files))],
            classes=classes,
            box=(edge, edge, edge),
            voxel_size=size,
        )
        self._size = size
        self.groups = [series_of(name) for name in self._known.names]
        self._tilts = self._measured()
        self.tilt_axis: TiltAxis | None = "y"
        self.tilt_range = self._tilts[0] if len(set(self._tilts)) == 1 else None
        self.notes = self._known.notes

    def _stack(self, images: list[Image], index: int) -> str:
        """Return the file of a particle's images."""
        own = [images[row] for row in self._known.rows[index]]
        name = self._known.names[index]
        if any(image.slot is None for image in own):
            refuse(
                self.path, f"names a stack for one image of '{name}' ({relion.IMAGE}), not slot@stack; export it again"
            )
        if len({image.file for image in own}) > 1:
            refuse(self.path, f"has images of '{name}' in {own[0].file} and other files; export them as one stack")
        return own[0].file

    def _label(self, labels: list[int | None], index: int) -> int | None:
        first, *others = (labels[row] for row in self._known.rows[index])
        if any(other != first for other in others):
            refuse(self.path, f"says different classes in the rows of '{self._known.names[index]}'; mend them")
        return first

    def _measured(self) -> list[tuple[float, float] | None]:
        """Return the range of tilts of each particle; those of one geometry share it."""
        known: dict[bytes, tuple[float, float] | None] = {}
        for index, geometry in enumerate(self._known.geometries):
            if geometry not in known:
                series = self._known.series(index)
                known[geometry] = series.tilt(np.ones(len(series), dtype=bool))[1]
        return [known[geometry] for geometry in self._known.geometries]

    def origin(self, index: int) -> Origin:
        """Return the first row of particle ``index`` in its STAR file, its voxel size and tilts."""
        return Origin(self.path, int(self._known.rows[index][0]), self._size, self._tilts[index])

    def reconstruct(self, index: int) -> Reconstructed:
        """Return the volume of a particle, and the weight of each of its Fourier coefficients."""
        images = self._read(index)
        every = np.ones(len(images), dtype=bool)
        series = self._known.series(index)
        projector = self._projector(self._known.geometries[index], series, self._size).of(series)
        return projector.reconstruct(images, every, _CENTRE, _CENTRE, self._known.premultiplied[index], self._wiener)

    def _read(self, index: int) -> NDArray[np.float32]:
        slots = self._images[self._known.rows[index]]
        first = int(slots.min())
        images = read_images(self.files[index], first, int(slots.max()) - first + 1)
        if images.shape[1:] != self.box[1:]:
            refuse(self.files[index], "has changed its size since the data set was opened; start again")
        return images[slots - first]
