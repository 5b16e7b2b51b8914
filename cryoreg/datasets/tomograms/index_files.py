"""Lists of tomograms by number, as Dynamo (.doc, .vll) and STOPGAP (tomolist.txt) have them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cryoreg.datasets.io.volume_files import one_line, refuse

_INDEXES = (".doc", ".vll")
_NUMBERED = re.compile(r"\s*\d+\s+(?![\d\s.+-]*$)")
"""The number of a tomogram and its file, which is more than numbers."""
_LONGEST = 10_000


def is_index(path: Path) -> bool:
    """Return whether a file lists tomograms by number: by its ending, and as text (.txt) by its first line."""
    if path.suffix.lower() != ".txt":
        return path.suffix.lower() in _INDEXES and path.is_file()
    try:
        with open(path, encoding="utf-8-sig") as stream:
            return _NUMBERED.match(stream.readline(_LONGEST)) is not None
    except (OSError, UnicodeDecodeError):
        return False


def read_index(path: str | Path) -> dict[int, str]:
    """Return the file of each number of a tomogram.

    A .doc file has both in each line, and so has STOPGAP's tomolist; a .vll file lists files in the order of their
    numbers from 1; its lines that begin with * describe the file before. Raises `DataError` for other lines, and for a
    number with two files.
    """
    with one_line(path, "a list of tomograms"):
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    filled = [(count, line.strip()) for count, line in enumerate(lines, 1) if line.strip()]
    if Path(path).suffix.lower() == ".vll":
        return dict(enumerate((line for _, line in filled if not line.startswith(("*", "#"))), 1))
    return _numbered(path, filled)


def _numbered(path: str | Path, lines: Sequence[tuple[int, str]]) -> dict[int, str]:
    index: dict[int, str] = {}
    for count, line in lines:
        number, _, file = line.replace("\t", " ").partition(" ")
        if not number.isdecimal() or not file.strip():
            refuse(path, f"has '{line}' in line {count}, not the number and the file of a tomogram; mend it")
        if index.setdefault(int(number), file.strip()) != file.strip():
            refuse(path, f"gives tomogram {int(number)} two files, {index[int(number)]} and {file.strip()}; keep one")
    return index
