"""How a store lies in its file: an HDF5 file whose metadata is complete before the first voxel is written.

Every array is contiguous and has its place from the start. So a row can be written, read or lost without any other
byte of the file changing, and a program that dies leaves a file to go on with. See docs/store.md.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from cryoreg import version
from cryoreg.contracts import Box, Contrast, Origin, SubtomogramDataset, TiltAxis
from cryoreg.datasets.fingerprint import fingerprint
from cryoreg.datasets.ids import check_unique
from cryoreg.datasets.store.mark import FORMAT as FORMAT
from cryoreg.errors import DataError

VERSION = 1
VOLUMES, CRC32 = "volumes", "crc32"
CLEAN, CLEAN_CRC32 = "clean", "clean_crc32"
WEIGHT, WEIGHT_CRC32 = "weight", "weight_crc32"
STATE, HASH, COLUMNS = "state", "content_hash", "columns"
PLACE = "origin/place"
LISTS = "origin/lists"
HASH_BYTES = 16
MISSING, WRITTEN, LEFT_OUT = 0, 1, 2
"""What `state` says of a row: still to be written, written, or left out as it could not be read."""
_UNKNOWN = -1
_NUMERIC = "biufcS"


@dataclass(frozen=True)
class StoreLayout:
    """All that is known of a store before the first voxel."""

    ids: Sequence[str]
    labels: Sequence[int | None]
    groups: Sequence[str | None]
    classes: Sequence[str]
    box: Box
    voxel_size: float | None
    """Å per voxel of the volumes in the store."""
    contrast: Contrast | None = None
    tilt_range: tuple[float, float] | None = None
    tilt_axis: TiltAxis | None = None
    origins: Sequence[Origin] | None = None
    """Where each row came from."""
    columns: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    """Further values of each row: name -> (NumPy type, shape in each row)."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """How the volumes were made, as JSON can hold it."""
    lists: Mapping[str, str] = field(default_factory=dict)
    """List among the origins -> a digest of its rows."""
    clean: bool = False
    """Whether each volume has a noise-free copy."""
    weighted: bool = False
    """Whether each has the weight of its Fourier coefficients, float16 (D, H, W // 2 + 1)."""

    def __post_init__(self) -> None:
        labels = [None if label is None else int(label) for label in self.labels]
        box = tuple(int(edge) for edge in self.box)
        for name, value in (("ids", list(self.ids)), ("labels", labels), ("groups", list(self.groups)), ("box", box)):
            object.__setattr__(self, name, value)

    @property
    def inputs(self) -> set[str]:
        """The files that the rows come from, and the paths that the settings name."""
        named = {value for value in self.settings.values() if isinstance(value, str) and os.path.isabs(value)}
        return named | {origin.file for origin in self.origins or ()}

    def check(self) -> None:
        """Raise `DataError` where rows are none, differ in number, or share an id."""
        if not self.ids:
            raise DataError("there are no subtomograms to write; check the data set")
        for name in ("labels", "groups", "origins"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.ids):
                raise DataError(f"{len(self.ids)} ids and {len(column)} {name} do not belong together")
        check_unique(self.ids, self.ids)
        for name, (dtype, _) in self.columns.items():
            if "/" in name or np.dtype(dtype).kind not in _NUMERIC:
                raise DataError(f"column '{name}' of type {dtype} cannot be stored; numbers and bytes can")

    def voxels(self, row: int, volume: Any) -> NDArray[np.float32]:
        """Return a row's volume as float32 (D, H, W); raise `DataError`, which names the id, where it cannot be one."""
        if volume is None:
            raise DataError(f"{self.ids[row]}: has no noise-free copy, though the others have one")
        voxels = np.ascontiguousarray(volume, dtype="<f4")
        if voxels.shape not in (self.box, (1, *self.box)):
            raise DataError(f"{self.ids[row]}: has shape {voxels.shape}, but its set has boxes of {self.box}")
        if not np.isfinite(voxels).all():
            raise DataError(f"{self.ids[row]}: holds NaN or infinite voxels; remove it or make it again")
        return voxels.reshape(self.box)

    def weight(self, row: int, weight: Any) -> NDArray[np.float16]:
        """Return a row's weight; raise `DataError`, which names the id, where it is none of its box."""
        values = np.ascontiguousarray(0 if weight is None else weight, dtype="<f2")
        depth, height, width = self.box
        if values.size != depth * height * (width // 2 + 1):
            raise DataError(f"{self.ids[row]}: has no weight of its Fourier coefficients, though the others have one")
        return values.reshape(depth, height, width // 2 + 1)

    def digest(self) -> str:
        """Return a hash of everything: equal for the same rows made by the same settings."""
        known = {name: getattr(self, name) for name in self.__dataclass_fields__}
        text = json.dumps(known, default=_plain, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class Place(NamedTuple):
    """Where an array begins in the file, and what each of its rows is."""

    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Return the bytes of a row."""
        return self.dtype.itemsize * math.prod(self.shape)

    def of(self, row: int) -> int:
        """Return where a row begins in the file."""
        return self.offset + row * self.row_bytes


def create(path: Path, layout: StoreLayout) -> None:
    """Write an HDF5 file with all of the metadata and room for all of the rows."""
    count = len(layout.ids)
    # The format of HDF5 1.8: checksums on metadata, but no "open for writing" mark that a killed program leaves behind.
    with h5py.File(path, "w", libver=("v108", "v108"), locking=False) as file:
        _write_attributes(file, layout)
        _write_known(file, layout)
        for name, (dtype, shape) in _row_arrays(layout).items():
            _allocate(file, name, (count, *shape), dtype)


def places(file: h5py.File) -> dict[str, Place]:
    """Return the places of the arrays that are filled row by row; raise `ValueError` where one has been moved."""
    names = [VOLUMES, CRC32, STATE, HASH, *([CLEAN, CLEAN_CRC32] if CLEAN in file else [])]
    names += [WEIGHT, WEIGHT_CRC32] if WEIGHT in file else []
    names += [f"{COLUMNS}/{name}" for name in file.get(COLUMNS, ())]
    return {name: _place(file[name]) for name in names}


def attribute(file: h5py.File, name: str) -> Any:
    """Return an attribute of the file, None where it has none of that name."""
    value = file.attrs.get(name)
    return value.decode() if isinstance(value, bytes) else value


def texts(file: h5py.File, name: str) -> list[str]:
    """Return an array of strings."""
    return file[name].asstr("utf-8", "surrogateescape")[()].tolist()


def named(file: h5py.File, numbers: str, names: str) -> list[str | None]:
    """Return the name of each row that is kept as a number; None where it has none."""
    known = texts(file, names)
    return [None if number == _UNKNOWN else known[number] for number in file[numbers][()].tolist()]


def optional(values: np.ndarray) -> list[Any]:
    """Return a column as Python values, None where it is unknown: negative integers, NaN."""
    unknown = np.isnan(values) if values.dtype.kind == "f" else values == _UNKNOWN
    return [None if none else value for value, none in zip(values.tolist(), unknown.tolist(), strict=True)]


def _write_attributes(file: h5py.File, layout: StoreLayout) -> None:
    file.attrs[FORMAT] = VERSION
    known: dict[str, object] = {"cryoreg": version.__version__, "layout": layout.digest()}
    known["fingerprint"] = fingerprint(cast(SubtomogramDataset, layout))
    known |= {name: getattr(layout, name) for name in ("voxel_size", "contrast", "tilt_range", "tilt_axis")}
    for name, value in known.items():
        if value is not None:
            file.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value


def _write_known(file: h5py.File, layout: StoreLayout) -> None:
    _write_texts(file, "ids", layout.ids)
    _write_texts(file, "classes", layout.classes)
    # Datasets hold what attributes cannot: more than 64 kB.
    _write_text(file, "settings", json.dumps(layout.settings, default=_plain).encode())
    file["labels"] = np.array([_UNKNOWN if label is None else label for label in layout.labels], dtype="<i4")
    _write_named(file, "groups", "group_names", layout.groups)
    if layout.origins is not None:
        _write_origins(file, layout.origins)
        _write_text(file, LISTS, json.dumps(layout.lists).encode())


def _write_origins(file: h5py.File, origins: Sequence[Origin]) -> None:
    nan = math.nan
    _write_named(file, "origin/file", "origin/file_names", [origin.file for origin in origins])
    file["origin/row"] = np.array([_UNKNOWN if o.row is None else o.row for o in origins], dtype="<i8")
    file["origin/voxel_size"] = np.array([nan if o.voxel_size is None else o.voxel_size for o in origins], "<f8")
    file["origin/tilt_range"] = np.array([o.tilt_range or (nan, nan) for o in origins], dtype="<f8")
    if any(origin.place for origin in origins):
        file[PLACE] = np.array([o.place or (nan, nan, nan) for o in origins], dtype="<f8")


def _write_texts(file: h5py.File, name: str, values: Sequence[str]) -> None:
    for value in values:
        if "\0" in value:
            raise DataError(f"{value!r} holds a NUL character, which cannot be stored; rename it")
    encoded = [value.encode("utf-8", "surrogateescape") for value in values]
    _write_text(file, name, encoded)


def _write_text(file: h5py.File, name: str, encoded: bytes | list[bytes]) -> None:
    """Write UTF-8 at its full length: strings of variable length lie in a heap, where damage makes HDF5 hang."""
    longest = len(encoded) if isinstance(encoded, bytes) else max(map(len, encoded), default=0)
    file.create_dataset(name, data=np.array(encoded, dtype=h5py.string_dtype("utf-8", max(1, longest))))


def _write_named(file: h5py.File, numbers: str, names: str, values: Sequence[str | None]) -> None:
    known = {name: number for number, name in enumerate(dict.fromkeys(v for v in values if v is not None))}
    _write_texts(file, names, list(known))
    file[numbers] = np.array([_UNKNOWN if value is None else known[value] for value in values], dtype="<i4")


def _row_arrays(layout: StoreLayout) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return all arrays that are filled row by row: name -> (type, shape in each row)."""
    arrays: dict[str, tuple[str, tuple[int, ...]]] = {
        **{CRC32: ("<u4", ()), STATE: ("u1", ()), HASH: ("u1", (HASH_BYTES,)), VOLUMES: ("<f4", layout.box)},
        **({CLEAN: ("<f4", layout.box), CLEAN_CRC32: ("<u4", ())} if layout.clean else {}),
    }
    if layout.weighted:
        depth, height, width = layout.box
        arrays |= {WEIGHT: ("<f2", (depth, height, width // 2 + 1)), WEIGHT_CRC32: ("<u4", ())}
    return arrays | {f"{COLUMNS}/{name}": column for name, column in layout.columns.items()}


def _allocate(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str) -> None:
    """Give an array its place in the file, which stays a hole until it is written."""
    parent, _, last = name.rpartition("/")
    group = file.require_group(parent) if parent else file
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    kind = h5py.h5t.py_create(np.dtype(dtype).newbyteorder("<"), logical=True)
    h5py.h5d.create(group.id, last.encode(), kind, h5py.h5s.create_simple(shape), creation)


def _place(dataset: h5py.Dataset) -> Place:
    offset = dataset.id.get_offset()
    if offset is None:
        raise ValueError(f"'{dataset.name}' is compressed or chunked")
    return Place(offset, dataset.dtype, dataset.shape[1:])


def _plain(value: Any) -> Any:
    """Return what JSON can hold of a NumPy value, a path or an origin."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Origin):
        known = [value.file, value.row, value.voxel_size, value.tilt_range]
        return [*known, value.place] if value.place else known
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value)
