"""The data set that all readers of volumes in files share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from cryoreg.contracts import Box, Origin, Sample
from cryoreg.datasets.volume_files import times
from cryoreg.errors import DataError


class FileDataset(ABC):
    """A `SubtomogramDataset` of volumes in files, which have one box and one voxel size.

    A reader finds out at the start where each volume lies; voxels are read, and checked, when a sample is asked for. No
    file stays open.
    """

    axes: ClassVar[tuple[int, int, int]] = (0, 1, 2)
    """The file's axes (0 = z, 1 = y, 2 = x) that become D, H, W, the beam along D."""
    notes: Sequence[str] = ()

    def __init__(
        self,
        files: Sequence[str],
        slots: Sequence[int | None],
        ids: Sequence[str],
        labels: Sequence[int | None],
        classes: Sequence[str],
        box: Box,
        voxel_size: float | None,
    ) -> None:
        """Take one path, slot (None: the file is one volume), id and label per subtomogram.

        ``box`` is in the file's order of axes, ``voxel_size`` in Å.
        """
        self.files, self.slots = files, slots
        self.ids, self.labels, self.classes = ids, labels, classes
        self.groups: Sequence[str | None] = [None] * len(files)
        self.voxel_size = voxel_size
        self.box: Box = (box[self.axes[0]], box[self.axes[1]], box[self.axes[2]])

    @abstractmethod
    def read(self, index: int) -> np.ndarray:
        """Return a volume, checked, float32 with the file's axes (z, y, x)."""

    def origin(self, index: int) -> Origin:
        """Return the file of subtomogram ``index`` and its slot in it."""
        return Origin(self.files[index], self.slots[index], self.voxel_size)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        """Read one subtomogram; raise `DataError` where its voxels are at fault."""
        volume = np.ascontiguousarray(self.read(index).transpose(self.axes))
        if volume.shape != self.box:
            raise DataError(f"{self.files[index]}: has changed its size since the data set was opened; start again")
        return Sample(torch.from_numpy(volume)[None], self.labels[index], self.ids[index], self.groups[index])


class CommonBox:
    """Checks, volume by volume, that all have the box of the first."""

    def __init__(self) -> None:
        self._first: tuple[str, Box] | None = None

    @property
    def box(self) -> Box:
        """The box (z, y, x) that all have."""
        assert self._first is not None
        return self._first[1]

    def add(self, file: str, box: Box) -> None:
        """Take the box of a file; raise `DataError`, with both, where it differs from the first."""
        self._first = self._first or (file, box)
        if box != self._first[1]:
            raise DataError(
                f"mixed box sizes: {self._first[0]} is {times(self._first[1])} and {file} is {times(box)} voxels "
                "(z, y, x); extract all subtomograms with one box"
            )
