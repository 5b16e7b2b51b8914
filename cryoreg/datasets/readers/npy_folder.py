"""A folder of NumPy arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cryoreg.contracts import Box
from cryoreg.datasets.io.volume_files import (
    check_count,
    check_holes,
    check_kind,
    name_of_slot,
    one_line,
    refuse,
    stack_of_volumes,
    to_float32,
)
from cryoreg.datasets.readers.class_folders import FileKind, find_files
from cryoreg.datasets.readers.file_dataset import CommonBox, FileDataset

_LONGEST_HEADER = 10_000
NPY = FileKind("NumPy files", ".npy")


class NpyFolder(FileDataset):
    """``root/<class>/*.npy``, flat and unlabelled ``root/*.npy``, or one file.

    Each is a volume (D, H, W), or a stack of them (N, D, H, W) or (N, D, H, W, 1); axes are (z, y, x). An id is the
    path below ``root`` without its extension, and in stacks the slot counted from 0. Files are memory-mapped for the
    time of a read; arrays of objects are refused.
    """

    def __init__(self, root: str | Path, voxel_size: float | None = None) -> None:
        """Open a folder; ``voxel_size`` in Å, as the files have none. Raises `DataError`, one line, for bad input."""
        found = find_files(root, NPY, single=True)
        boxes = CommonBox()
        rows: list[tuple[str, int | None, str, int | None]] = []
        for file, stem, label in zip(found.files, found.stems, found.labels, strict=True):
            count, box = _layout(file)
            boxes.add(file, box)
            if count is None:
                rows.append((file, None, stem, label))
            else:
                rows += [(file, slot, f"{stem}/{slot}", label) for slot in range(count)]
        files, slots, ids, labels = (list(column) for column in zip(*rows, strict=True))
        super().__init__(files, slots, ids, labels, found.classes, boxes.box, voxel_size)

    def read(self, index: int) -> np.ndarray:
        """Read one array, or one slot of it."""
        file, slot = self.files[index], self.slots[index]
        array = _open(file)
        stored_slot, box = stack_of_volumes(file, array.shape)
        if (stored_slot is None) != (slot is None) or (slot or 0) >= (stored_slot or 1):
            refuse(file, "has changed its size since the data set was opened; start again")
        chosen = array if slot is None else array[slot]
        check_holes(file, chosen.nbytes)
        return to_float32(name_of_slot(file, slot), chosen.reshape(box))


def _layout(file: str) -> tuple[int | None, Box]:
    array = _open(file)
    check_kind(file, array.dtype)
    count, box = stack_of_volumes(file, array.shape)
    check_count(file, count or 1)
    return count, box


def _open(file: str) -> np.ndarray:
    """Map an array, which reads its header alone."""
    with one_line(file, "a NumPy file"):
        _check_header(file)
        try:
            return np.lib.format.open_memmap(file, mode="r")
        except OSError:
            raise
        except Exception as error:  # numpy lets through what Python's tokenizer makes of a damaged header
            _explain(file, str(error))
            raise ValueError(str(error)) from error


def _check_header(file: str) -> None:
    """Refuse a header that claims a length beyond what numpy reads: it would be taken into memory before it is seen."""
    with open(file, "rb") as stream:
        magic = stream.read(12)
    if magic[:6] == b"\x93NUMPY" and magic[6:7] > b"\1" and int.from_bytes(magic[8:12], "little") > _LONGEST_HEADER:
        refuse(file, "has a header longer than that of any array of numbers; copy or export it again")


def _explain(file: str, reason: str) -> None:
    """Say what numpy means."""
    if "Python objects" in reason:
        check_kind(file, np.dtype(object))
    if "magic string is not correct" in reason or "EOF: reading magic" in reason:
        refuse(file, "is not a NumPy file (.npy), or empty; copy or export it again")
    if "greater than file size" in reason or "EOF: reading" in reason:
        refuse(file, "is truncated; copy or export it again")
