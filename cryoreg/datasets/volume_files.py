"""Volumes in files of any kind: the checks, the messages and the data set that all readers of files share."""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, NoReturn

import numpy as np
import torch

from cryoreg.contracts import Box, Origin, Sample
from cryoreg.errors import DataError

_PLAUSIBLE = (1e-30, 1e15)
"""Between these lies the largest absolute voxel of any density."""


class VolumeFiles(ABC):
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


def place(file: str, slot: int | None) -> str:
    """Return how messages name a volume."""
    return file if slot is None else f"{file}, slot {slot}"


def times(shape: Sequence[int]) -> str:
    """Write a size: 6×5×4."""
    return "×".join(map(str, shape))


def refuse(where: str | Path, reason: str) -> NoReturn:
    """Raise the `DataError` that says what is wrong with a file."""
    raise DataError(f"{where}: {reason}") from None


@contextmanager
def one_line(path: str | Path, kind: str) -> Iterator[None]:
    """Turn whatever reading a file of a ``kind`` ("an MRC file") raises into a `DataError` of one line."""
    try:
        yield
    except FileNotFoundError:
        refuse(path, "does not exist (or is a broken link); check the path")
    except PermissionError:
        refuse(path, "may not be read; ask its owner for permission (chmod +r)")
    except IsADirectoryError:
        refuse(path, f"is a folder, not {kind}; move or rename it")
    except (OSError, EOFError, ValueError, SyntaxError, zlib.error) as error:
        refuse(path, f"cannot be read ({' '.join(str(error).split())}); copy or export it again")


def to_float32(where: str, data: np.ndarray) -> np.ndarray:
    """Return a copy of voxels as float32; raise `DataError` where they are no numbers, or none that a density has."""
    check_kind(where, data.dtype)
    with np.errstate(over="ignore"):
        volume = np.array(data, dtype=np.float32)
    check_voxels(where, volume)
    return volume


def check_kind(where: str, dtype: np.dtype) -> None:
    """Raise `DataError` unless an array's numbers are real."""
    if dtype.kind == "c":
        refuse(where, "holds complex numbers (a Fourier transform); transform it back to real space")
    if dtype.kind == "O":
        refuse(where, "holds Python objects, which could run code; save plain numbers (float32)")
    if dtype.kind not in "iufb":
        refuse(where, f"holds values of type {dtype}, not numbers; save them as float32")


def check_voxels(where: str | Path, data: np.ndarray) -> None:
    """Raise `DataError` where voxels are constant, not finite, or beyond what any density has."""
    low, high = limits(data)
    if low == high:
        refuse(where, f"is constant (every voxel is {low:g}); remove it or extract it again")
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = np.count_nonzero(~np.isfinite(data))
        refuse(where, f"holds NaN or infinite voxels ({bad:,} of {data.size:,}); remove it or extract it again")
    if not plausible(low, high):
        refuse(where, f"holds values from {low:.3g} to {high:.3g}, which no density has; export it again")


def plausible(low: float, high: float) -> bool:
    """Tell whether a density could have these limits; floats in the wrong byte order have others."""
    return _PLAUSIBLE[0] < max(-low, high) < _PLAUSIBLE[1]


def limits(data: np.ndarray) -> tuple[float, float]:
    """Return the smallest and largest voxel."""
    with np.errstate(invalid="ignore"):
        return float(data.min()), float(data.max())


def one_volume(where: str, shape: tuple[int, ...]) -> Box:
    """Return an array's shape without axes of length 1 at its ends; raise `DataError` unless it is a volume's."""
    inner = shape
    while len(inner) > 3 and 1 in (inner[0], inner[-1]):
        inner = inner[1:] if inner[0] == 1 else inner[:-1]
    if len(inner) != 3 or min(inner) < 2:
        refuse(where, f"has the shape {times(shape) or 'of a single number'}, not that of a volume (D×H×W); remove it")
    return inner[0], inner[1], inner[2]


def stack_of_volumes(where: str, shape: tuple[int, ...]) -> tuple[int | None, Box]:
    """Return the number of volumes in an array (N, D, H, W) or (N, D, H, W, 1), and their box.

    The number is None for a single volume (D, H, W). Raises `DataError` for any other shape.
    """
    if len(shape) < 4:
        return None, one_volume(where, shape)
    if shape[0] < 1:
        refuse(where, f"holds no volumes (shape {times(shape)}); remove it")
    return shape[0], one_volume(where, shape[1:])
