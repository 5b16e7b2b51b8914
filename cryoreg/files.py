"""Files that are complete or absent: written beside the target, synced, checked, then renamed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from cryoreg.errors import CryoregError, RunFolderError

CACHE_VARIABLE = "CRYOREG_CACHE"
_MOST_SETTINGS = 2**20
_BEGINNING = 1024
_OF_NUMBERS = b"0123456789+-.eE \t\r\n"
_FORMULA = re.compile(r"'*(?:[=+@\t\r]|-(?![\d.]+$))")


def cache_folder() -> Path:
    """Return where cryoreg keeps what it can make again: ``$CRYOREG_CACHE``, else a place in the user's cache."""
    import platformdirs

    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("cryoreg"))


def write_atomically(
    path: Path, write: Callable[[BinaryIO], object], check: Callable[[Path], object] | None = None
) -> None:
    """Write ``path`` so that it holds either its old content or all of the new, whatever happens meanwhile.

    ``write`` fills the temporary file, in the same folder; ``check`` reads it back and raises where it is not sound.
    Raises `RunFolderError` where the disk is full or the folder cannot be written; the old content is then intact.
    """
    temporary = temporary_name(path)
    try:
        _write_and_sync(temporary, write)
        if check is not None:
            check(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        kept = "; the file written before is intact" if path.exists() else ""
        raise RunFolderError(f"cannot write {path}: {error.strerror or error}{kept}") from error
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """Return a hidden name beside ``path`` to write to first; what processes that were killed left there is deleted."""
    machine = f"{zlib.crc32(platform.node().encode(errors='surrogateescape')):08x}"  # another's processes may be alive
    pattern = re.compile(rf"{re.escape(f'.{path.name}.{machine}-')}(\d+)\.tmp")
    with suppress(OSError):
        for entry in path.parent.iterdir():
            if (match := pattern.fullmatch(entry.name)) and not _is_alive(int(match[1])):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return path.with_name(f".{path.name}.{machine}-{os.getpid()}.tmp")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically, in UTF-8."""
    write_atomically(path, lambda file: file.write(text.encode(errors="surrogateescape")))


def cell(text: str) -> str:
    """Return a text for a CSV file: what a spreadsheet would run as a formula begins with an apostrophe."""
    return f"'{text}" if _FORMULA.match(text) else text


def readable(text: Any) -> Any:
    """Return text as valid Unicode: bytes of a file's name that are not UTF-8 become ``\\xff``. None stays None."""
    return None if text is None else text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def require_file(path: str | Path, error: type[CryoregError]) -> None:
    """Raise ``error`` where a path is a pipe, a socket or a device: reading it could wait, or go on, for ever.

    Files and folders pass, and so does what is not there: whoever opens it says so.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise error(f"{path}: is a pipe or a device, not a file; give the file itself")


def holds_numbers(path: Path) -> bool:
    """Tell whether a file begins with numbers as text: a list of points (.pt), not a network of that ending."""
    if not path.is_file():  # a pipe would have one wait
        return False
    try:
        with path.open("rb") as file:
            return bool(start := file.read(_BEGINNING)) and not start.translate(None, _OF_NUMBERS)
    except OSError:
        return False


def read_settings(path: Path, error: type[CryoregError]) -> str:
    """Return the text of a file of settings, UTF-8; raise ``error`` where it is no file, or far too large for one."""
    require_file(path, error)
    with path.open("rb") as file:
        text = file.read(_MOST_SETTINGS + 1)
    if len(text) > _MOST_SETTINGS:
        raise error(f"{path}: has more than {_MOST_SETTINGS:,} bytes, far more than settings need; check the path")
    return text.decode("utf-8-sig")  # editors of Windows begin with a mark


def text_of_cell(text: str) -> str:
    """Return the text of which `cell` made a cell."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that a killed process left in ``folder``."""
    for file in filter(is_leftover, folder.iterdir()):
        file.unlink(missing_ok=True)


def is_leftover(file: Path) -> bool:
    """Tell a temporary file of `write_atomically` by its name."""
    return file.name.startswith(".") and file.name.endswith(".tmp")


def require_no_link(path: Path, error: type[CryoregError]) -> None:
    """Raise ``error`` where a place that is to be written in is a link, and what is written would lie elsewhere."""
    if path.is_symlink():
        raise error(f"{path} is a link to {os.readlink(path)}, where nothing is to be written; remove the link")


def _write_and_sync(path: Path, write: Callable[[BinaryIO], object]) -> None:
    path.unlink(missing_ok=True)
    with path.open("xb") as file:  # never through a link that lies there
        write(file)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames in a folder outlast a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
