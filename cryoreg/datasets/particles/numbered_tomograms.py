"""Lists that call their tomograms by number, and the files by which the numbers have names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.tomograms.index_files import is_index, read_index
from cryoreg.errors import DataError


def whole_numbers(path: str, values: NDArray[np.float64], what: str, where: str) -> list[int | None]:
    """Return a column of whole numbers, None where it is not a number at all.

    Raises `DataError`, with ``what`` a value is and ``where`` it stands, for the first that is not whole.
    """
    known = ~np.isnan(values)
    bad = np.flatnonzero(known & ~(np.isfinite(values) & (values == np.round(values))))
    if len(bad):
        refuse(path, f"has {values[bad[0]]:g} for {what} in row {bad[0]}, {where}, no whole number; mend it")
    return [int(value) if there else None for value, there in zip(values, known, strict=True)]


class Named(NamedTuple):
    """Tomograms that a list calls by number; as fields of `ParticleList`."""

    numbers: Sequence[int | None]
    tomograms: Sequence[str | None]
    """The file of each number where a table beside the list tells it, else the number as text."""
    tables: Sequence[str]
    """The tables that were taken which are not called as the list is."""
    contradiction: str | None
    """In words, a number of which two such tables tell different files."""
    named_by: Sequence[str]
    """How tables are called that are asked."""


def name_tomograms(numbers: Sequence[int | None], path: str, *patterns: str) -> Named:
    """Return the tomograms of numbers by the tables beside a list.

    That is the list's own (``<list>.doc`` for "*.doc"), else all whose names fit the first pattern that any fits. Of
    several, those that are no such tables are passed over.
    """
    own = [path_ for pattern in patterns if (path_ := Path(path).with_suffix(Path(pattern).suffix)) != Path(path)]
    mine = next((file for file in own if is_index(file)), None)
    tables = {mine: read_index(mine)} if mine else _beside(Path(path).parent, patterns)
    index: dict[int, str] = {}
    contradiction = None
    for number in sorted({number for number in numbers if number is not None}):
        told = {os.path.normpath(table[number]): file for file, table in tables.items() if number in table}
        if told:
            index[number] = next(iter(told))
        if len(told) > 1 and not contradiction:
            (one, first), (other, second) = [*told.items()][:2]
            contradiction = f"tomogram {number} is {one} by {first} and {other} by {second}"
    names = [None if number is None else index.get(number, str(number)) for number in numbers]
    return Named(numbers, names, [] if mine else [file.name for file in tables], contradiction, patterns)


def _beside(folder: Path, patterns: Sequence[str]) -> dict[Path, dict[int, str]]:
    files = next((found for pattern in patterns if (found := sorted(folder.glob(pattern)))), [])
    if len(files) == 1:
        return {files[0]: read_index(files[0])}
    tables = {}
    for file in files:
        with suppress(DataError):
            tables[file] = read_index(file)
    return tables
