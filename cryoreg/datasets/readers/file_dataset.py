"""The data set that all readers of volumes in files share."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from cryoreg.contracts import Box, Origin, Sample, Subtomograms
from cryoreg.datasets.io.volume_files import times
from cryoreg.errors import DataError, MixedError


class FileDataset(Subtomograms):
    """A `SubtomogramDataset` of volumes in files, which have one box and one voxel size.

    A reader finds out at the start where each volume lies; voxels are read, and checked, when a sample is asked for. No
    file stays open.
    """

    axes: ClassVar[tuple[int, int, int]] = (0, 1, 2)
    """The file's axes (0 = z, 1 = y, 2 = x) that become D, H, W, the beam along D."""

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
    """The box that all volumes have; those that differ are counted."""

    def __init__(self) -> None:
        self._first: dict[Box, str] = {}
        self._counts: Counter[Box] = Counter()

    def add(self, file: str, box: Box) -> None:
        """Take the box (z, y, x) of a file."""
        self._first.setdefault(box, file)
        self._counts[box] += 1

    @property
    def box(self) -> Box:
        """The box (z, y, x) that all have; raises `MixedError` where two differ."""
        mixed = self.mixed()
        if mixed:
            raise MixedError(mixed, {"box": self.counts})
        return next(iter(self._first))

    @property
    def counts(self) -> dict[str, int]:
        """How many files have each box, the commonest first."""
        return {times(box): count for box, count in self._counts.most_common()}

    def mixed(self) -> str | None:
        """Name two files whose boxes differ, and what to do; None where all are alike."""
        if len(self._first) < 2:
            return None
        (box, file), (other, other_file) = list(self._first.items())[:2]
        return (
            f"mixed box sizes: {file} is {times(box)} and {other_file} is {times(other)} voxels (z, y, x); "
            "extract all subtomograms with one box"
        )
