"""Labelled volumes in one file, as the paper's lab hands them around: a pickle or HDF5."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from cryoreg.datasets.io.hdf5 import borrowed
from cryoreg.datasets.io.restricted_pickle import StoredArray, plain, read_pickle
from cryoreg.datasets.io.volume_files import (
    check_count,
    check_kind,
    is_hdf5,
    name_of_slot,
    one_line,
    one_volume,
    refuse,
    stack_of_volumes,
    text_of,
    to_float32,
)
from cryoreg.datasets.readers.file_dataset import CommonBox, FileDataset
from cryoreg.datasets.readers.lab_layout import HDF5_LABELS, HDF5_VOLUMES, LAB_AXES, LAB_TILT_AXIS
from cryoreg.errors import DataError

_LISTED = 8


class _Entry(NamedTuple):
    """One volume of a pickle."""

    array: StoredArray
    slot: int | None
    id: str
    label: str


class LabPickle(FileDataset):
    """A pickle that is a list of ``{"v": volume, "id": class}``, or a dictionary ``{class: volumes}``.

    Volumes are an array (N, D, H, W) or (N, D, H, W, 1), a list of arrays, or one array. Their axes (z, y, x), the beam
    along the last, are permuted as in `Lab`. Ids are the positions, after the class in a dictionary: ``ribosome/3``.
    The file is read by `read_pickle`, so no code in it runs, and voxels stay in it until a sample is asked for.
    """

    axes = LAB_AXES
    tilt_axis = LAB_TILT_AXIS

    def __init__(self, root: str | Path, voxel_size: float | None = None) -> None:
        """Open a pickle; ``voxel_size`` in Å, as it has none. Raises `DataError`, one line, for bad input."""
        file = os.fspath(root)
        content = read_pickle(file)
        entries = _from_mapping(file, content) if isinstance(content, Mapping) else _from_list(file, content)
        if not entries:
            refuse(file, "holds no volumes; check the path")
        boxes = CommonBox()
        for entry in entries:
            shape = entry.array.shape if entry.slot is None else entry.array.shape[1:]
            where = f"{file}, entry {entry.id}"
            check_kind(where, entry.array.dtype)
            boxes.add(where, one_volume(where, shape))
        self._entries, self._stored_box = entries, boxes.box
        classes, labels = numbered([entry.label for entry in entries])
        ids = [entry.id for entry in entries]
        count = len(entries)
        super().__init__([file] * count, list(range(count)), ids, labels, classes, boxes.box, voxel_size)

    def read(self, index: int) -> np.ndarray:
        """Read one volume from its place in the file."""
        file, entry = self.files[index], self._entries[index]
        with one_line(file, "a pickle"):
            array = entry.array.load(file, entry.slot)
            return to_float32(f"{file}, entry {entry.id}", array.reshape(self._stored_box))


def _from_list(file: str, content: Any) -> list[_Entry]:
    if not isinstance(content, (list, tuple)):
        refuse(file, f"holds {_kind(content)}, not a list of {{'v': volume, 'id': class}}; export it so")
    return [_from_record(file, number, record) for number, record in enumerate(content)]


def _from_record(file: str, number: int, record: Any) -> _Entry:
    fields = {plain(key): value for key, value in record.items()} if isinstance(record, dict) else {}
    if "v" not in fields or "id" not in fields:
        found = f"the keys {_listed(fields)}" if fields else _kind(record)
        refuse(file, f"entry {number} has {found}, not the keys 'v' (volume) and 'id' (class); export it so")
    return _Entry(_array(file, str(number), fields["v"]), None, str(number), _name(file, str(number), fields["id"]))


def _from_mapping(file: str, content: Mapping[Any, Any]) -> list[_Entry]:
    entries: list[_Entry] = []
    for key, value in content.items():
        name = _name(file, "a key", key)
        arrays = value if isinstance(value, (list, tuple)) else [value]
        found = [_array(file, name, array) for array in arrays]
        places: list[tuple[StoredArray, int | None]] = []
        for array in found:
            count, _ = stack_of_volumes(f"{file}, entry {name}", array.shape)
            places += [(array, slot) for slot in (range(count) if count is not None else [None])]
        entries += [_Entry(array, slot, f"{name}/{i}", name) for i, (array, slot) in enumerate(places)]
    return entries


def _array(file: str, where: str, value: Any) -> StoredArray:
    if not isinstance(value, StoredArray):
        refuse(file, f"entry {where} holds {_kind(value)} where an array is expected; export NumPy arrays")
    return value


def _name(file: str, where: str, value: Any) -> str:
    name = plain(value)
    if isinstance(name, float) and name.is_integer():
        name = int(name)
    if not isinstance(name, (str, int)) or isinstance(name, bool) or not str(name).strip():
        refuse(file, f"entry {where} has a class that is neither text nor a whole number; export it so")
    return text_of(f"{file}, entry {where}", "a class", str(name).strip())


class LabHdf5(FileDataset):
    """HDF5 with ``dataset_1`` (N, D, H, W) or (N, D, H, W, 1) and, unless it is unlabelled, ``target``.

    ``target`` holds class numbers (N,), names, or one-hot rows (N, classes). Axes are those of `LabPickle`, ids are
    positions. Volumes that lie in the file as they are are read straight from it.
    """

    axes = LAB_AXES
    tilt_axis = LAB_TILT_AXIS

    def __init__(self, root: str | Path, voxel_size: float | None = None) -> None:
        """Open a file; ``voxel_size`` in Å, as it has none. Raises `DataError`, one line, for bad input."""
        file = os.fspath(root)
        with _archive(file) as archive:
            volumes = _volumes(file, archive)
            self._dtype, self._offset = volumes.dtype, volumes.id.get_offset()
            count, box = stack_of_volumes(file, volumes.shape)
            check_count(file, count or 1)
            target = archive[HDF5_LABELS][()] if HDF5_LABELS in archive else None
        check_kind(file, self._dtype)
        if count is None:
            refuse(file, f"has a '{HDF5_VOLUMES}' that is one volume, not (N, D, H, W); add the axis of subtomograms")
        names = None if target is None else class_names(file, np.asarray(target), count)
        classes, labels = ([], [None] * count) if names is None else numbered(names)
        slots = list(range(count))
        self._stored_box = box
        super().__init__([file] * count, slots, [str(slot) for slot in slots], labels, classes, box, voxel_size)

    def read(self, index: int) -> np.ndarray:
        """Read one volume."""
        file = self.files[index]
        with one_line(file, "an HDF5 file"):
            return to_float32(name_of_slot(file, index), self._stored(file, index).reshape(self._stored_box))

    def _stored(self, file: str, slot: int) -> np.ndarray:
        if self._offset is None:
            with _archive(file) as archive:
                return np.asarray(archive[HDF5_VOLUMES][slot])
        count = math.prod(self._stored_box)
        return np.fromfile(file, self._dtype, count, offset=self._offset + slot * count * self._dtype.itemsize)


@contextmanager
def _archive(file: str) -> Iterator[h5py.File]:
    """Open an HDF5 file; whatever h5py makes of a damaged one becomes a `DataError` of one line."""
    with one_line(file, "an HDF5 file"):
        try:
            with h5py.File(file, "r", locking=False) as archive:
                yield archive
        except (OSError, DataError):
            raise
        except Exception as error:
            raise ValueError(str(error)) from error


def _volumes(file: str, archive: h5py.File) -> h5py.Dataset:
    name = borrowed(archive)
    if name is not None:
        refuse(file, f"has its '{name}' in another file; copy that into this one")
    found = archive.get(HDF5_VOLUMES)
    if not isinstance(found, h5py.Dataset):
        refuse(file, f"has no '{HDF5_VOLUMES}' (N, D, H, W), but {_listed(archive)}; export it so")
    return found


def class_names(file: str, target: np.ndarray, count: int) -> list[str]:
    """Return the class of each volume, from numbers, names or one-hot rows."""
    if not target.shape or len(target) != count:
        rows = len(target) if target.shape else 1
        refuse(
            file, f"has {count} volumes in '{HDF5_VOLUMES}' and {rows} classes in '{HDF5_LABELS}'; export both again"
        )
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if target.ndim == 2:
        if not (np.isin(target, (0, 1)).all() and (target.sum(axis=1) == 1).all()):
            refuse(file, f"has rows in '{HDF5_LABELS}' that are not one-hot (a single 1 each); export class numbers")
        target = target.argmax(axis=1)
    if target.ndim != 1:
        refuse(file, f"has a '{HDF5_LABELS}' of {target.ndim} axes; export class numbers (N,)")
    return [_name(file, str(row), each) for row, each in enumerate(target.tolist())]


def numbered(names: Sequence[str]) -> tuple[list[str], list[int | None]]:
    """Return the sorted classes, numbers by their value, and each name's index among them."""
    classes = sorted(set(names), key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name))
    index = {name: label for label, name in enumerate(classes)}
    return classes, [index[name] for name in names]


def _kind(value: Any) -> str:
    return "a NumPy array" if isinstance(value, StoredArray) else f"a value of type {type(value).__name__}"


def _listed(keys: Any) -> str:
    names = [repr(plain(key)) for key in keys]
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "") or "nothing"


def open_archive(root: str | Path, voxel_size: float | None = None) -> FileDataset:
    """Open a pickle or an HDF5 file, by how it begins."""
    return LabHdf5(root, voxel_size) if is_hdf5(root) else LabPickle(root, voxel_size)
