"""Subtomograms that a STAR file lists."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.contracts import Origin
from cryoreg.datasets.io import relion, relion_tables
from cryoreg.datasets.io.class_columns import class_labels
from cryoreg.datasets.io.columns import first_of
from cryoreg.datasets.io.mrc import read_header, read_slot, read_volume
from cryoreg.datasets.io.mrc_header import MrcHeader
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.io.voxel_sizes import SAME_VOXEL_SIZE, edge_length
from cryoreg.datasets.readers.file_dataset import CommonBox, FileDataset
from cryoreg.datasets.readers.mrc_files import notes_on
from cryoreg.datasets.readers.star_images import Image, find_images
from cryoreg.datasets.tomograms.names import stem
from cryoreg.errors import DataError, MixedVoxelSizesError

_UNSET = 1.0
"""Å per voxel that many programs write where they know of none."""
_TURNED = 1.0
"""Degrees beyond which a volume counts as turned."""


class Star(FileDataset):
    """The volumes that a STAR file of RELION 3, 3.1, 4 or 5, Warp or M names in ``rlnImageName``.

    A name is a file or ``slot@stack``, slots counted from 1, and an id is that name. Voxel sizes come from the optics
    groups (``rlnImagePixelSize``) or columns of the particles, else from the headers; groups are the tomograms.
    Nothing is inverted: how density looks depends on how the volumes were made.
    """

    def __init__(
        self,
        root: str | Path,
        voxel_size: float | None = None,
        folder: str | Path | None = None,
        label: str | None = None,
        mixed_voxel_sizes: bool = False,
    ) -> None:
        """Open a STAR file; ``voxel_size`` (Å) overrules it and the headers.

        Relative names start in ``folder``, else in the folder of the STAR file or one above it. ``mixed_voxel_sizes``
        lets them differ, as they may where all are rescaled. Raises `DataError`, one line, for bad input.
        """
        self.path = os.fspath(root)
        table = relion_tables.read_particles(root)
        relion.check_volumes(self.path, table)
        images = find_images(self.path, table, folder)
        self._edges = relion.image_edges(self.path, table)
        stated = relion.image_sizes(self.path, table)
        box, self._voxel_sizes = self._headers(images, stated, voxel_size)
        classes, labels = class_labels(self.path, table, label)
        super().__init__(
            files=[image.file for image in images],
            slots=[image.slot for image in images],
            ids=[str(name) for name in table[relion.IMAGE]],
            labels=labels,
            classes=classes,
            box=box,
            voxel_size=self._voxel_sizes[0],
        )
        group = first_of(table, relion.TOMOGRAMS)
        if group:
            self.groups = [stem(str(name)) for name in table[group]]
        self.positions = _positions(self.path, table)
        self.notes = [*self.notes, *_on_turned(self.path, table)]
        if not mixed_voxel_sizes:
            self._check_one_size()

    def _headers(
        self, images: Sequence[Image], stated: Sequence[float | None], told: float | None
    ) -> tuple[tuple[int, int, int], list[float | None]]:
        """Return the box that all images have, and the voxel size of each; each header is read once."""
        boxes, headers = CommonBox(), dict[str, MrcHeader]()
        sizes: list[float | None] = []
        for row, image in enumerate(images):
            header = headers.get(image.file)
            if header is None:
                header = read_header(
                    image.file, image.slot is not None, self._edges[row] if image.slot is not None else None
                )
                headers[image.file] = header
                boxes.add(image.file, header.box)
            if image.slot is not None and not 0 <= image.slot < header.volumes:
                refuse(
                    self.path,
                    f"names slot {image.slot + 1} of {image.file} in row {row}, which holds {header.volumes} volumes "
                    "(counted from 1); check the list",
                )
            sizes.append(told or self._size(image.file, header, stated[row]))
        self.notes = notes_on(headers, headers.values())
        return boxes.box, sizes

    def _size(self, file: str, header: MrcHeader, stated: float | None) -> float | None:
        """Return the voxel size on which header and table agree."""
        measured = edge_length(file, header.voxel_sizes)
        if stated is None or measured is None or measured == _UNSET:
            return stated or measured
        if abs(stated - measured) > SAME_VOXEL_SIZE * max(stated, measured):
            refuse(
                file,
                f"has {measured:.4g} Å per voxel in its header and {stated:.4g} Å in {self.path}; "
                "say which with --set dataset.voxel_size=<Å>",
            )
        return stated

    def _check_one_size(self) -> None:
        first = self._voxel_sizes[0]
        for row, size in enumerate(self._voxel_sizes):
            if abs((size or 0) - (first or 0)) > SAME_VOXEL_SIZE * (first or 1):
                a, b = (f"{each:.4g} Å" if each else "none" for each in (first, size))
                raise MixedVoxelSizesError(
                    f"mixed voxel sizes in {self.path}: row 0 has {a} and row {row} {b}; "
                    "say --set dataset.rescale_to=<Å>"
                )

    def origin(self, index: int) -> Origin:
        """Return the row of subtomogram ``index`` in the STAR file, and its voxel size."""
        return Origin(self.path, index, self._voxel_sizes[index])

    def read(self, index: int) -> np.ndarray:
        """Read one volume."""
        slot = self.slots[index]
        if slot is None:
            return read_volume(self.files[index])
        return read_slot(self.files[index], slot, self._edges[index])


def _on_turned(path: str, table: pd.DataFrame) -> list[str]:
    """Return a note on volumes that RELION 4 turned as it made them, so that each has its missing wedge elsewhere."""
    degrees = relion.turns(path, table)
    turned = np.flatnonzero([] if degrees is None else degrees > _TURNED)
    if not len(turned):
        return []
    return [
        f"{path}: {len(turned)} of {len(table)} volumes are turned as rlnTomoSubtomogramRot, Tilt and Psi say (the "
        f"first: row {turned[0]}), and their missing wedges with them, which are taken to lie about z all the same; "
        "cut boxes with --dataset tomogram, or make the volumes anew without these columns"
    ]


def _positions(path: str, table: pd.DataFrame) -> NDArray[np.float64] | None:
    """Return places in the tomograms, which the volumes do not need: None where they cannot be read."""
    try:
        return relion.coordinates(path, table)[0]
    except DataError:
        return None
