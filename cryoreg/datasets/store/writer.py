"""Writing a store, row by row, so that a program that dies at any moment can go on where it was."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cryoreg.datasets.store import format as fmt
from cryoreg.datasets.store.format import Place, StoreLayout
from cryoreg.errors import DataError
from cryoreg.files import require_no_link, sync_folder, write_atomically
from cryoreg.outputs import check_file

__all__ = ["StoreLayout", "StoreWriter"]

_FLUSH_SECONDS = 2.0


class StoreWriter:
    """Writes a store beside its final name, as ``.<name>.part``, and renames it when it is complete.

    The metadata lies on disk before the first voxel and never changes; a row counts as written only after its voxels
    have reached the disk. Rows may come in any order. A context manager; leaving it early keeps what was written.
    """

    def __init__(self, path: Path, layout: StoreLayout, resume: bool = True, overwrite: bool = False) -> None:
        """Begin ``path``, or go on with it where ``resume`` is set and it was begun with an equal layout.

        Raises `OutputError` where ``path`` exists (unless ``overwrite``), `DataError` where its unfinished part has
        another layout (unless ``overwrite``) or is being written by another process, or the disk has no room.
        """
        self.path, self.layout, self.overwrite = path, layout, overwrite
        layout.check()
        with writing_to(path, path):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._require_free_name()
        self.part = path.with_name(f".{path.name}.part")
        require_no_link(self.part, DataError)
        with writing_to(self.path, self.part):
            if not (resume and self._is_begun()):
                self._create()
            self._places = self._open()
            self._file = os.open(self.part, os.O_RDWR)
        self._lock()
        self._state = np.array(self._read(fmt.STATE))
        self._pending: list[int] = []
        self._flushed = time.monotonic()

    def missing(self) -> list[int]:
        """Return the rows still to be written, in order; rows whose checksum does not match are among them."""
        written = np.flatnonzero(self._state == fmt.WRITTEN)
        damaged = [row for row in written.tolist() if not self._sound(row)]
        self._state[damaged] = fmt.MISSING
        return np.flatnonzero(self._state != fmt.WRITTEN).tolist()

    def put(
        self, row: int, volume: Any, clean: Any = None, columns: Mapping[str, Any] | None = None, weight: Any = None
    ) -> None:
        """Write a row: its volume (D, H, W) or (1, D, H, W), its noise-free copy, a value for each column, its weight.

        Raises `DataError`, which names the id, for another shape, voxels that are not finite, or missing values.
        """
        values = columns or {}
        if values.keys() != self.layout.columns.keys():
            raise DataError(f"{self.layout.ids[row]}: has columns {sorted(values)}, not {sorted(self.layout.columns)}")
        voxels = self.layout.voxels(row, volume)
        self._put(fmt.VOLUMES, row, voxels)
        self._put(fmt.CRC32, row, zlib.crc32(voxels.data))
        self._put(fmt.HASH, row, np.frombuffer(content_hash(voxels), np.uint8))
        if self.layout.clean:
            copy = self.layout.voxels(row, clean)
            self._put(fmt.CLEAN, row, copy)
            self._put(fmt.CLEAN_CRC32, row, zlib.crc32(copy.data))
        if self.layout.weighted:
            measured = self.layout.weight(row, weight)
            self._put(fmt.WEIGHT, row, measured)
            self._put(fmt.WEIGHT_CRC32, row, zlib.crc32(measured.data))
        for name, value in values.items():
            self._put(f"{fmt.COLUMNS}/{name}", row, value)
        self._note(row, fmt.WRITTEN)

    def leave_out(self, row: int) -> None:
        """Note that a row cannot be had: the finished store goes without it, and lists its id as left out."""
        self._note(row, fmt.LEFT_OUT)

    def flush(self) -> None:
        """Bring to disk what was put, and only then say that it is there."""
        with writing_to(self.path, self.part):
            os.fsync(self._file)
            for row in self._pending:
                self._put(fmt.STATE, row, self._state[row])
            os.fsync(self._file)
        self._pending.clear()
        self._flushed = time.monotonic()

    def finish(self) -> None:
        """Give the complete store its name; raise `DataError` where rows are missing or the name has been taken."""
        self.flush()
        missing = np.flatnonzero(self._state == fmt.MISSING)
        if len(missing):
            first = self.layout.ids[missing[0]]
            raise DataError(
                f"{self.part}: {len(missing)} subtomograms are still to be written, the first being {first}"
            )
        if not (self._state == fmt.WRITTEN).any():
            raise DataError(f"{self.part}: every subtomogram was left out, so there is nothing to store")
        self._require_free_name()
        with writing_to(self.path, self.part):
            self.part.replace(self.path)
            sync_folder(self.path.parent)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._pending:
                self.flush()
            if error is not None and not (self._state == fmt.WRITTEN).any():
                self.part.unlink(missing_ok=True)
        finally:
            os.close(self._file)

    def _require_free_name(self) -> None:
        check_file(self.path, self.overwrite, self.layout.inputs)

    def _is_begun(self) -> bool:
        """Tell whether there is a part to go on with; another one than this is given up with ``overwrite``."""
        if not (self.overwrite and self.part.exists()):
            return self.part.exists()
        try:
            self._open()
        except DataError:
            self._file = os.open(self.part, os.O_RDWR)
            self._lock()
            os.close(self._file)
            return False
        return True

    def _create(self) -> None:
        self._require_room()
        write_atomically(self.part, lambda file: fmt.create(Path(file.name), self.layout))

    def _require_room(self) -> None:
        needed = len(self.layout.ids) * 4 * int(np.prod(self.layout.box)) * (1 + self.layout.clean)
        needed += needed // 3 if self.layout.weighted else 0
        disk = os.statvfs(self.path.parent)
        free = disk.f_bavail * disk.f_frsize
        if needed > free:
            raise DataError(f"{self.path}: needs {needed / 1e9:.1f} GB, but its disk has {free / 1e9:.1f} GB free")

    def _open(self) -> dict[str, Place]:
        try:
            with h5py.File(self.part, "r", locking=False) as file:
                begun_with, found = fmt.attribute(file, "layout"), fmt.places(file)
        except (OSError, KeyError, ValueError):
            raise DataError(
                f"{self.part}: is damaged, so its store cannot be gone on with; remove it, or say --overwrite"
            ) from None
        if begun_with != self.layout.digest():
            raise DataError(
                f"{self.part}: was begun with other data or settings; repeat those to go on with it, or say --overwrite"
            )
        return found

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise DataError(f"{self.part}: is being written by another process; wait for it, or stop it") from None

    def _put(self, name: str, row: int, value: Any) -> None:
        place = self._places[name]
        content = memoryview(np.asarray(value, place.dtype).reshape(place.shape).tobytes())
        offset = place.of(row)
        with writing_to(self.path, self.part):
            while content:
                count = os.pwrite(self._file, content, offset)
                content, offset = content[count:], offset + count

    def _read(self, name: str, row: int | None = None) -> NDArray[Any]:
        """Return one row, or all of them; what lies beyond the end of a torn file is zero."""
        place = self._places[name]
        rows = len(self.layout.ids) if row is None else 1
        content = os.pread(self._file, rows * place.row_bytes, place.of(row or 0))
        content = content.ljust(rows * place.row_bytes, b"\0")
        return np.frombuffer(content, place.dtype).reshape(rows, *place.shape)

    def _sound(self, row: int) -> bool:
        pairs = [(fmt.VOLUMES, fmt.CRC32), *([(fmt.CLEAN, fmt.CLEAN_CRC32)] if self.layout.clean else [])]
        pairs += [(fmt.WEIGHT, fmt.WEIGHT_CRC32)] if self.layout.weighted else []
        return all(zlib.crc32(self._read(voxels, row).data) == self._read(sums, row)[0] for voxels, sums in pairs)

    def _note(self, row: int, state: int) -> None:
        self._state[row] = state
        self._pending.append(row)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()


@contextmanager
def writing_to(path: Path, part: Path) -> Iterator[None]:
    """Turn the system's refusals to write ``path``, or so far its ``part``, into a `DataError` of one line."""
    try:
        yield
    except OSError as error:
        kept = f"; {part.name} keeps what was written" if part.exists() else ""
        reason = f"cannot write {path}: {error.strerror or error}{kept}"
        raise DataError(f"{reason}; mend that and repeat the command") from error


def content_hash(volume: NDArray[np.float32]) -> bytes:
    """Return a hash of a volume's voxels as little-endian float32: equal for identical subtomograms alone."""
    return hashlib.blake2b(np.ascontiguousarray(volume, "<f4").data, digest_size=fmt.HASH_BYTES).digest()
