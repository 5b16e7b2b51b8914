"""Volumes in files of any kind: the checks and the messages that all readers of files share."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from cryoreg.errors import CryoregError, DataError, EmptyListError
from cryoreg.files import require_file

if TYPE_CHECKING:
    from cryoreg.contracts import Box

_LARGE = 2**26
_MOST_HOLES = 100
"""A large file of which less than this part is there was not copied to its end."""
_MOST_VOLUMES = 2**20
_HDF5 = b"\x89HDF\r\n\x1a\n"
_LONGEST = 1200
"""Characters of a message, of which a file's own words may be many."""
_PLAUSIBLE = (1e-30, 1e15)
"""Between these lies the largest absolute voxel of any density."""


def name_of_slot(file: str, slot: int | None) -> str:
    """Return how messages name a volume."""
    return file if slot is None else f"{file}, slot {slot}"


def times(shape: Sequence[int]) -> str:
    """Write a size: 6×5×4."""
    return "×".join(map(str, shape))


def refuse(where: str | Path, reason: str) -> NoReturn:
    """Raise the `DataError` that says what is wrong with a file: one line, whatever the file's own words in it are."""
    message = "".join(map(_printable, reason))
    if len(message) > _LONGEST:
        message = f"{message[: _LONGEST // 2]} ... {message[-_LONGEST // 2 :]}"
    raise DataError(f"{''.join(map(_printable, str(where)))}: {message}") from None


def refuse_empty(path: str | Path, what: str = "particles") -> NoReturn:
    """Raise the `EmptyListError` that says that a list has none of what it should have."""
    raise EmptyListError(f"{''.join(map(_printable, str(path)))}: lists no {what}; check how it was written")


def _printable(sign: str) -> str:
    return sign if sign.isprintable() else ascii(sign)[1:-1]


def together(notes: Iterable[tuple[str, str]]) -> list[str]:
    """Return a line for each note, of pairs (file, note), that names the first file and counts the others."""
    files: dict[str, list[str]] = {}
    for file, note in notes:
        files.setdefault(note, []).append(file)
    return [f"{named[0]}{_others(len(named) - 1)}: {note}" for note, named in files.items()]


def _others(count: int) -> str:
    return f" and {count:,} more" if count else ""


@contextmanager
def one_line(path: str | Path, kind: str) -> Iterator[None]:
    """Turn whatever reading a file of a ``kind`` ("an MRC file") raises into a `DataError` of one line."""
    try:
        require_file(path, DataError)
        yield
    except FileNotFoundError:
        refuse(path, "does not exist (or is a broken link); check the path")
    except PermissionError:
        refuse(path, "may not be read; ask its owner for permission (chmod +r)")
    except IsADirectoryError:
        refuse(path, f"is a folder, not {kind}; move or rename it")
    except RecursionError:
        refuse(path, "is nested too deeply to be what it should be; copy or export it again")
    except MemoryError:
        refuse(path, "asks for more memory than there is; copy or export it again")
    except (OSError, EOFError, ValueError, OverflowError, SyntaxError, zlib.error) as error:
        refuse(path, f"cannot be read ({' '.join(str(error).split())}); copy or export it again")


@contextmanager
def guarded(path: str | Path, kind: str) -> Iterator[None]:
    """Do the same for whatever a library raises on damaged files; only for calls of such a library."""
    with one_line(path, kind):
        try:
            yield
        except (CryoregError, OSError, EOFError, ValueError, OverflowError, RecursionError, MemoryError):
            raise
        except Exception as error:
            raise ValueError(f"{type(error).__name__}, {error}") from error


def text_of(where: str | Path, what: str, value: object) -> str:
    """Return a name that a file holds; raise `DataError` where it is no text, or none that UTF-8 can write."""
    if not isinstance(value, str):
        refuse(where, f"has {what} that is no text, but of type {type(value).__name__}; mend it")
    try:
        value.encode()
    except UnicodeEncodeError:
        refuse(where, f"has {what} with characters that are none ({ascii(value)[:80]}); mend it")
    return value


def check_holes(path: str | Path, size: int) -> None:
    """Raise `DataError` where hardly anything of the ``size`` bytes that are to be read was ever written.

    A copy that was not finished leaves such holes, and a few bytes can claim any amount of memory by them.
    """
    if size < _LARGE:
        return
    with one_line(path, "a file"), open(path, "rb") as stream:
        written = _written(stream.fileno(), size // _MOST_HOLES)
    if written * _MOST_HOLES < size:
        refuse(path, f"has volumes of {size:,} bytes, of which only {written:,} were ever written; copy it again")


def _written(descriptor: int, enough: int) -> int:
    """Return how many bytes of a file are no holes; the count ends at ``enough``."""
    count = place = 0
    while count < enough:
        try:
            start = os.lseek(descriptor, place, os.SEEK_DATA)
            place = os.lseek(descriptor, start, os.SEEK_HOLE)
        except OSError:  # there is no more
            return count
        count += place - start
    return count


def check_count(where: str | Path, volumes: int) -> None:
    """Raise `DataError` where a file claims more volumes than any data set has; each costs memory before it is read."""
    if volumes > _MOST_VOLUMES:
        refuse(where, f"has {volumes:,} volumes by its header, more than {_MOST_VOLUMES:,}; copy or export it again")


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


def is_hdf5(path: str | Path) -> bool:
    """Tell whether a file begins as HDF5 does; raise `DataError` where it cannot be read."""
    with one_line(path, "an archive"), open(path, "rb") as stream:
        return stream.read(len(_HDF5)) == _HDF5
