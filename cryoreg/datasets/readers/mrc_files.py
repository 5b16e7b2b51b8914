"""Subtomograms that lie in MRC files, one each: what `mrc_folder` and `lab` share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np

from cryoreg.contracts import Box
from cryoreg.datasets.io.mrc import read_header, read_volume
from cryoreg.datasets.io.mrc_header import MrcHeader
from cryoreg.datasets.io.volume_files import together
from cryoreg.datasets.io.voxel_sizes import edge_length, same_size
from cryoreg.datasets.readers.file_dataset import CommonBox, FileDataset
from cryoreg.errors import DataError, MixedError

_OVERRULE = "--set dataset.voxel_size=<Å>"


class Geometry(Protocol):
    """What a header says of the size of a volume."""

    @property
    def box(self) -> Box:
        """Voxels (z, y, x)."""
        ...

    @property
    def voxel_sizes(self) -> tuple[float, float, float] | None:
        """Å along x, y, z; None where it does not say."""
        ...


class MrcFiles(FileDataset):
    """A `SubtomogramDataset` of MRC files that have one box and one voxel size; headers are read and compared once."""

    def __init__(
        self,
        files: Sequence[str],
        ids: Sequence[str],
        labels: Sequence[int | None],
        classes: Sequence[str],
        voxel_size: float | None = None,
    ) -> None:
        """Take one path, id and label per subtomogram; ``voxel_size`` (Å) overrules the headers."""
        headers = [read_header(file) for file in files]
        box, voxel_size = common_geometry_of(zip(files, headers, strict=True), voxel_size)
        self.notes = notes_on(files, headers)
        super().__init__(files, [None] * len(files), ids, labels, classes, box, voxel_size)

    def read(self, index: int) -> np.ndarray:
        """Read one file."""
        return read_volume(self.files[index])


def notes_on(files: Iterable[str], headers: Iterable[MrcHeader]) -> list[str]:
    """Return what was read in spite of faults in headers."""
    return together((file, note) for file, header in zip(files, headers, strict=True) for note in header.notes)


def common_geometry_of(headers: Iterable[tuple[str, Geometry]], voxel_size: float | None) -> tuple[Box, float | None]:
    """Return the box (z, y, x) and voxel size (Å) of all files, whose headers are read.

    Raises `MixedError`, which counts what all files have, where two differ.
    """
    boxes = CommonBox()
    sizes: list[tuple[str, float | None]] = []
    for file, header in headers:
        boxes.add(file, header.box)
        sizes.append((file, voxel_size or edge_length(file, header.voxel_sizes)))
    if not sizes:
        raise DataError("no volumes; check the path")
    mixed = boxes.mixed() or _mixed_sizes(sizes)
    if mixed:
        counted = Counter(_in_angstrom(size) for _, size in sizes)
        raise MixedError(mixed, {"box": boxes.counts, "voxel size": dict(counted.most_common())})
    return boxes.box, sizes[0][1]


def _mixed_sizes(sizes: Sequence[tuple[str, float | None]]) -> str | None:
    """Name two files whose voxel sizes (Å) differ, and what to do; None where all are alike."""
    first, size = sizes[0]
    other = next(((file, each) for file, each in sizes if not same_size(size, each)), None)
    if other is None:
        return None
    return (
        f"mixed voxel sizes: {first} has {_in_angstrom(size)} and {other[0]} {_in_angstrom(other[1])}; "
        f"resample them to one, or overrule the headers with {_OVERRULE}"
    )


def _in_angstrom(size: float | None) -> str:
    return "none in its header" if size is None else f"{size:.4g} Å"
