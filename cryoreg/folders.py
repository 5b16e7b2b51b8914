"""What folders hold, by the names of their files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from cryoreg.errors import DataError

_PACKED = (".gz", ".bz2")


def ending(name: str) -> str:
    """Return the extension of a file's name in lower case; of a compressed file, the one before."""
    stem, extension = os.path.splitext(name.lower())
    return os.path.splitext(stem)[1] if extension in _PACKED else extension


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of those one level below it, sorted, without hidden ones."""
    entries = _entries(folder)
    below = [inner for entry in entries if entry.is_dir() for inner in _entries(entry)]
    return (Path(entry.path) for entry in (*entries, *below) if not entry.is_dir())


def entries_of(folder: Path) -> list[Path]:
    """Return what a folder holds, files, folders and links to nothing, sorted, without hidden ones."""
    return [folder / entry.name for entry in _entries(folder)]


def _entries(folder: os.PathLike[str]) -> list[os.DirEntry[str]]:
    """Return what a folder holds, sorted, without what is hidden; raise `DataError` where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted((each for each in entries if not each.name.startswith(".")), key=lambda each: each.name)
    except OSError as error:
        raise DataError(f"{error.filename}: {(error.strerror or 'cannot be read').lower()}; check the path") from None


def endings(folder: Path) -> Counter[str]:
    """Count the extensions of a folder's files and of those one level below."""
    return Counter(ending(file.name) for file in files_below(folder))
