"""What may be written where: nothing of the user's is replaced unasked, nothing appears under its name unfinished."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from cryoreg.errors import OutputError
from cryoreg.files import sync_folder, temporary_name

Paths = Iterable[str | Path]


def numbered_paths(path: Path) -> Iterator[Path]:
    """Yield a path, and then NAME_2, NAME_3, ... beside it."""
    yield path
    yield from (path.with_stem(f"{path.stem}_{number}") for number in count(2))


def free(*names: str) -> list[str]:
    """Return names of files that are not there in the working directory: these, or all with one number."""
    together = zip(*(numbered_paths(Path(name)) for name in names), strict=True)
    return next([str(path) for path in paths] for paths in together if not any(map(os.path.lexists, paths)))


def check_files(paths: Sequence[Path], overwrite: bool = False, inputs: Paths = ()) -> None:
    """Make sure, before any work, that all of some files may be written, and are different ones; see `check_file`."""
    for number, path in enumerate(paths):
        check_file(path, overwrite, inputs)
        if _real(path) in map(_real, paths[:number]):
            raise OutputError(f"{path}: is to be written twice; choose different names")


def check_file(path: Path, overwrite: bool = False, inputs: Paths = ()) -> None:
    """Make sure, before any work, that a file may be written: in a folder that is there, and as a new one.

    With ``overwrite`` it may replace a file, but none of ``inputs``, from which the work begins. Raises `OutputError`.
    """
    with _one_line(path):
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; name a file")
        if os.path.lexists(path):
            _spare(path, inputs)
            check_new(path, overwrite)
            if not (path.is_file() or path.is_symlink()):
                raise OutputError(f"{path}: is no regular file; choose another name")
        if not path.absolute().parent.is_dir():
            raise OutputError(f"{path}: there is no folder {path.parent}; make it first")
        if not os.access(path.absolute().parent, os.W_OK):
            raise OutputError(f"{path}: nothing may be written in the folder {path.parent}; choose another")


def check_folder(path: Path, overwrite: bool = False, inputs: Paths = ()) -> None:
    """Make sure, before any work, that files may be written into a folder: a new or empty one.

    With ``overwrite`` it may hold files, but none of ``inputs``. Raises `OutputError`.
    """
    with _one_line(path):
        if os.path.lexists(path) and not path.is_dir():
            check_new(path)
        if path.is_dir() and any(path.iterdir()):
            _spare(path, inputs)
            check_new(path, overwrite)


def check_new(path: Path, overwrite: bool = False, advice: str = "say --overwrite") -> None:
    """Raise `OutputError` where a name is taken, unless ``overwrite`` is set; ``advice`` is the other way out."""
    if os.path.lexists(path) and not overwrite:
        raise OutputError(f"{path}: exists already; choose another name or {advice}")


@contextmanager
def filling(path: Path) -> Iterator[Path]:
    """Yield a hidden folder; when all went well, move the files written there into ``path``, else remove them.

    Files of the same names in ``path`` are replaced, others stay.
    """
    home = path if path.is_dir() else path.parent
    part = temporary_name(home / path.absolute().name)
    with _one_line(path):
        part.mkdir(parents=True)
    try:
        yield part
        with _one_line(path):
            _move(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move(part: Path, path: Path) -> None:
    path.mkdir(exist_ok=True)
    for file in sorted(part.iterdir()):
        file.replace(path / file.name)
    sync_folder(path)


def _spare(path: Path, inputs: Paths) -> None:
    """Refuse to replace an input, or a folder that holds one."""
    place = _real(path)
    if any(_real(each) == place or _real(each).startswith(place + os.sep) for each in inputs):
        raise OutputError(f"{path}: is what is read, which is never changed; choose another name")


def _real(path: str | Path) -> str:
    return os.path.realpath(path)


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{path}: cannot be written ({reason}); choose another name") from error
