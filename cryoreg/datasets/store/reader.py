"""Reading cryoreg's own store: one HDF5 file, each subtomogram in one run of bytes with its own checksum."""

from __future__ import annotations

import json
import os
import weakref
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from cryoreg.contracts import Box, Contrast, Origin, Sample, Subtomograms, TiltAxis
from cryoreg.datasets.fingerprint import fingerprint
from cryoreg.datasets.io.hdf5 import borrowed
from cryoreg.datasets.store import format as fmt
from cryoreg.errors import DataError
from cryoreg.files import require_file

_ARRAYS = {False: (fmt.VOLUMES, fmt.CRC32), True: (fmt.CLEAN, fmt.CLEAN_CRC32)}
_LISTED = 5


class Store(Subtomograms):
    """A `SubtomogramDataset` in one HDF5 file, which is only read and may lie on read-only media.

    HDF5 tells where the volumes lie; they are then read straight from the file, 128 kB for a box of 32³, by any number
    of processes. Every volume is checked against its checksum.
    """

    labels: Sequence[int | None]
    groups: Sequence[str | None]

    def __init__(self, root: str | Path, voxel_size: float | None = None, noise_free: bool = False) -> None:
        """Open a store, or with ``noise_free`` the copies in it; ``voxel_size`` (Å) overrules what it says.

        Raises `DataError`, one line, where the file is missing, unfinished, damaged or not a store.
        """
        self.root = str(root)
        self._voxels, self._checksums = _ARRAYS[noise_free]
        self._overrule = voxel_size
        self._descriptor: int | None = None
        require_file(self.root, DataError)
        try:
            with h5py.File(self.root, "r", locking=False) as file:
                self._check_format(file)
                self._read_table(file)
        except DataError:
            raise
        except Exception as error:  # h5py has many exceptions for a damaged file
            self._explain(error)

    @cached_property
    def clean(self) -> Store | None:
        """The noise-free copies of the same subtomograms, where the store has them."""
        return Store(self.root, self._overrule, noise_free=True) if fmt.CLEAN in self._places else None

    @cached_property
    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Further values of each subtomogram: name -> (N, ...)."""
        names = [name for name in self._places if name.startswith(f"{fmt.COLUMNS}/")]
        with h5py.File(self.root, "r", locking=False) as file:
            return {name.partition("/")[2]: file[name][()][self._rows] for name in names}

    @cached_property
    def duplicates(self) -> Sequence[int | None]:
        """A number for each subtomogram that occurs more than once, the same for identical ones, else None."""
        hashes = self._hashes.view(f"S{fmt.HASH_BYTES}").reshape(-1)
        _, numbers, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        return [number if counts[number] > 1 else None for number in numbers.tolist()]

    def origin(self, index: int) -> Origin:
        """Return where subtomogram ``index`` came from; the voxel size is the store's."""
        if self._origins is None:
            return Origin(self.root, int(self._rows[index]), self.voxel_size)
        files, rows, tilts = self._origins
        low, high = tilts[index]
        tilt_range = None if low is None or high is None else (low, high)
        return Origin(files[index] or self.root, rows[index], self.voxel_size, tilt_range, self._place(index))

    def _place(self, index: int) -> tuple[float, float, float] | None:
        if self._tomogram_places is None or np.isnan(self._tomogram_places[index]).any():
            return None
        x, y, z = self._tomogram_places[index].tolist()
        return x, y, z

    def prefetch(self, indices: Iterable[int]) -> None:
        """Ask the system to read these subtomograms in the background, as they will be wanted soon."""
        place = self._places[self._voxels]
        if hasattr(os, "posix_fadvise"):  # Linux has it, macOS does not
            for row in np.sort(self._rows[list(indices)]).tolist():
                os.posix_fadvise(self._open(), place.of(row), place.row_bytes, os.POSIX_FADV_WILLNEED)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        """Read one subtomogram; raise `DataError` where it is not what was written."""
        volume, weight = torch.from_numpy(self._read(self._voxels, self._sums, index))[None], None
        if self._weight_sums is not None:
            weight = torch.from_numpy(self._read(fmt.WEIGHT, self._weight_sums, index))[None].float()
        return Sample(volume, self.labels[index], self.ids[index], self.groups[index], weight)

    def _read(self, name: str, sums: NDArray[np.uint32], index: int) -> NDArray[Any]:
        place, row = self._places[name], int(self._rows[index])
        values = np.empty(place.shape, place.dtype)
        try:
            count = os.preadv(self._open(), [values.data.cast("B")], place.of(row))
        except OSError as error:
            self._refuse(f"cannot be read ({error.strerror}); check its disk")
        if count < place.row_bytes:
            self._refuse("is truncated; copy it again")
        if zlib.crc32(values.data) != sums[index]:
            self._refuse(f"subtomogram '{self.ids[index]}' is not as it was written (checksum); copy the file again")
        return values

    def __reduce__(self) -> tuple[Callable[..., Store], tuple[str, float | None, bool]]:
        return Store, (self.root, self._overrule, self._voxels == fmt.CLEAN)

    def _open(self) -> int:
        """Return the file's descriptor; processes may share it, as every read says where."""
        if self._descriptor is None:
            self._descriptor = os.open(self.root, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)
        return self._descriptor

    def _check_format(self, file: h5py.File) -> None:
        if fmt.FORMAT not in file.attrs:
            self._refuse("is an HDF5 file, but not a store of cryoreg; `cryoreg convert` makes one")
        if file.attrs[fmt.FORMAT] != fmt.VERSION:
            self._refuse(
                f"is a store of format {file.attrs[fmt.FORMAT]}, and this cryoreg reads {fmt.VERSION}; upgrade cryoreg"
            )
        elsewhere = borrowed(file)
        if elsewhere is not None:
            self._refuse(f"has its '{elsewhere}' in another file, which no store has; `cryoreg convert` makes one")
        for name in (fmt.VOLUMES, fmt.CRC32, fmt.STATE):
            if file[name].id.get_offset() is None:
                self._refuse(f"has been repacked ('{name}' is chunked); undo it with h5repack -l CONTI -f NONE")
        state = file[fmt.STATE][()]
        if (state == fmt.MISSING).any():
            done = np.count_nonzero(state)
            self._refuse(
                f"is unfinished ({done:,} of {len(state):,} subtomograms); run the command that wrote it again"
            )
        if not np.isin(state, (fmt.WRITTEN, fmt.LEFT_OUT)).all():
            self._refuse("is damaged (its account of what was written); copy it again")

    def _read_table(self, file: h5py.File) -> None:
        """Read all that is known without a voxel, and leave out the rows that were left out."""
        self._places = fmt.places(file)
        depth, height, width = self._places[self._voxels].shape
        self.box: Box = (depth, height, width)
        self.classes: Sequence[str] = fmt.texts(file, "classes")
        self.ids: Sequence[str] = fmt.texts(file, "ids")
        self.labels = fmt.optional(file["labels"][()])
        self.groups = fmt.named(file, "groups", "group_names")
        if fingerprint(self) != fmt.attribute(file, "fingerprint"):
            self._refuse("has ids, labels or groups that are not as they were written; copy it again")
        self.settings: Mapping[str, Any] = json.loads(file["settings"].asstr()[()])
        self.lists: Mapping[str, str] = json.loads(file[fmt.LISTS].asstr()[()]) if fmt.LISTS in file else {}
        self._read_attributes(file)
        self._select(file)

    def _read_attributes(self, file: h5py.File) -> None:
        attributes = {name: fmt.attribute(file, name) for name in ("voxel_size", "contrast", "tilt_range", "tilt_axis")}
        size, tilts = attributes["voxel_size"], attributes["tilt_range"]
        self.voxel_size: float | None = self._overrule or (None if size is None else float(size))
        self.contrast: Contrast | None = attributes["contrast"]
        self.tilt_range = None if tilts is None else (float(tilts[0]), float(tilts[1]))
        self.tilt_axis: TiltAxis | None = attributes["tilt_axis"]

    def _select(self, file: h5py.File) -> None:
        written = file[fmt.STATE][()] == fmt.WRITTEN
        self._rows = np.flatnonzero(written)
        self._sums: NDArray[np.uint32] = file[self._checksums][()][written]
        self.weighted = fmt.WEIGHT in self._places and self._voxels == fmt.VOLUMES
        self._weight_sums = file[fmt.WEIGHT_CRC32][()][written] if self.weighted else None
        self._hashes: NDArray[np.uint8] = file[fmt.HASH][()][written]
        self._origins = self._read_origins(file) if "origin" in file else None
        self._tomogram_places = file[fmt.PLACE][()][self._rows] if fmt.PLACE in file else None
        self.left_out = [self.ids[row] for row in np.flatnonzero(~written).tolist()]
        self.notes: Sequence[str] = [_told(self.left_out)] if self.left_out else []
        if self.left_out:
            for name in ("ids", "labels", "groups"):
                setattr(self, name, [getattr(self, name)[row] for row in self._rows.tolist()])

    def _read_origins(self, file: h5py.File) -> tuple[list[str | None], list[int | None], list[list[float | None]]]:
        files, numbers = fmt.named(file, "origin/file", "origin/file_names"), fmt.optional(file["origin/row"][()])
        rows = self._rows.tolist()
        tilts = file["origin/tilt_range"][()][self._rows]
        both = zip(fmt.optional(tilts[:, 0]), fmt.optional(tilts[:, 1]), strict=True)
        return [files[row] for row in rows], [numbers[row] for row in rows], [list(pair) for pair in both]

    def _explain(self, error: Exception) -> NoReturn:
        """Say in one line why the file cannot be opened."""
        if not os.path.exists(self.root):
            self._refuse("does not exist (or is a broken link); check the path")
        if os.path.isdir(self.root):
            self._refuse("is a folder; a store is one file, as `cryoreg convert` writes it")
        if isinstance(error, PermissionError):
            self._refuse("may not be read; ask its owner for permission (chmod +r)")
        if not h5py.is_hdf5(self.root):
            self._refuse("is not an HDF5 file, so no store; `cryoreg convert` makes one")
        if "truncated" in str(error):
            self._refuse("is truncated; copy it again")
        self._refuse(f"is damaged ({' '.join(str(error).split())}); copy it again")

    def _refuse(self, reason: str) -> NoReturn:
        raise DataError(f"{self.root}: {reason}") from None


def _told(left_out: Sequence[str]) -> str:
    listed = ", ".join(left_out[:_LISTED]) + (", ..." if len(left_out) > _LISTED else "")
    return f"{len(left_out):,} subtomograms were left out when the store was made: {listed}"
