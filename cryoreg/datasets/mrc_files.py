"""Subtomograms that lie in MRC files, one each: what `mrc_folder` and `lab` share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
import torch

from cryoreg.contracts import Box, Origin, Sample
from cryoreg.datasets.mrc import read_header, read_volume
from cryoreg.errors import DataError

SAME_VOXEL_SIZE = 0.01
"""Voxel sizes that differ by a smaller fraction count as the same."""
_OVERRULE = "--set dataset.voxel_size=<Å>"


class MrcFiles:
    """A `SubtomogramDataset` of MRC files that have one box and one voxel size.

    Headers are read and compared once; voxels are read, and checked, when a sample is asked for. No file stays open.
    """

    axes: ClassVar[tuple[int, int, int]] = (0, 1, 2)
    """The file's axes (0 = z, 1 = y, 2 = x) that become D, H, W, the beam along D."""

    def __init__(
        self,
        files: Sequence[str],
        ids: Sequence[str],
        labels: Sequence[int | None],
        classes: Sequence[str],
        voxel_size: float | None = None,
    ) -> None:
        """Take one path, id and label per subtomogram; ``voxel_size`` (Å) overrules the headers."""
        self.files = files
        self.ids, self.labels, self.classes = ids, labels, classes
        self.groups: Sequence[str | None] = [None] * len(files)
        box, self.voxel_size = common_geometry(files, voxel_size)
        self.box: Box = (box[self.axes[0]], box[self.axes[1]], box[self.axes[2]])

    def origin(self, index: int) -> Origin:
        """Return the file of subtomogram ``index``."""
        return Origin(self.files[index], voxel_size=self.voxel_size)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        """Read one subtomogram; raise `DataError` where its voxels are at fault."""
        volume = np.ascontiguousarray(read_volume(self.files[index]).transpose(self.axes))
        if volume.shape != self.box:
            raise DataError(f"{self.files[index]}: has changed its size since the data set was opened; start again")
        return Sample(torch.from_numpy(volume)[None], self.labels[index], self.ids[index], self.groups[index])


def common_geometry(files: Iterable[str], voxel_size: float | None) -> tuple[Box, float | None]:
    """Return the box (z, y, x) and voxel size (Å) of all files; raise `DataError` where two differ."""
    first: tuple[str, Box, float | None] | None = None
    for file in files:
        header = read_header(file)
        size = voxel_size or _edge(file, header.voxel_sizes)
        if first is None:
            first = (file, header.box, size)
        _compare(first, (file, header.box, size))
    if first is None:
        raise DataError("no MRC files; check the path")
    return first[1:]


def _edge(file: str, sizes: tuple[float, float, float] | None) -> float | None:
    if sizes is None:
        return None
    if not _same(min(sizes), max(sizes)):
        listed = " × ".join(f"{size:.4g}" for size in sizes)
        raise DataError(f"{file}: has voxels of {listed} Å; resample them to cubes, or overrule with {_OVERRULE}")
    return float(np.mean(sizes))


def _compare(first: tuple[str, Box, float | None], other: tuple[str, Box, float | None]) -> None:
    (file_a, box_a, size_a), (file_b, box_b, size_b) = first, other
    if box_a != box_b:
        raise DataError(
            f"mixed box sizes: {file_a} is {_times(box_a)} and {file_b} is {_times(box_b)} voxels (z, y, x); "
            "extract all subtomograms with one box"
        )
    if not _same(size_a, size_b):
        raise DataError(
            f"mixed voxel sizes: {file_a} has {_in_angstrom(size_a)} and {file_b} {_in_angstrom(size_b)}; "
            f"resample them to one, or overrule the headers with {_OVERRULE}"
        )


def _same(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return abs(a - b) <= SAME_VOXEL_SIZE * max(a, b)


def _times(box: Box) -> str:
    return "×".join(map(str, box))


def _in_angstrom(size: float | None) -> str:
    return "none in its header" if size is None else f"{size:.4g} Å"


def check_unique(ids: Sequence[str], files: Sequence[str]) -> None:
    """Raise `DataError` where two files have one id."""
    seen: dict[str, str] = {}
    for name, file in zip(ids, files, strict=True):
        if name in seen:
            raise DataError(f"{seen[name]} and {os.path.basename(file)} both have the id '{name}'; rename one")
        seen[name] = file
