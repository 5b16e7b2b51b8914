"""Lists that call their tomograms by number, and the files by which the numbers have names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.tomograms.index_files import is_index, read_index


def whole_numbers(path: str, values: NDArray[np.float64], what: str, where: str) -> list[int | None]:
    """Return a column of whole numbers, None where it is not a number at all.

    Raises `DataError`, with ``what`` a value is and ``where`` it stands, for the first that is not whole.
    """
    known = ~np.isnan(values)
    bad = np.flatnonzero(known & ~(np.isfinite(values) & (values == np.round(values))))
    if len(bad):
        refuse(path, f"has {values[bad[0]]:g} for {what} in row {bad[0]}, {where}, no whole number; mend it")
    return [int(value) if there else None for value, there in zip(values, known, strict=True)]


def name_tomograms(numbers: Sequence[int | None], path: str, *patterns: str) -> list[str | None]:
    """Return the file of each number where an index beside the list tells it, else the number as text.

    The index is the list's own (``<list>.doc`` for "*.doc"), else the only file beside it whose name fits a pattern,
    the first before others.
    """
    index = _index_beside(Path(path), patterns)
    return [None if number is None else index.get(number, str(number)) for number in numbers]


def _index_beside(path: Path, patterns: Sequence[str]) -> dict[int, str]:
    own = [path.with_suffix(Path(pattern).suffix) for pattern in patterns]
    named = [[file] for file in own if file != path and is_index(file)]
    found = [*named, *(files for pattern in patterns if (files := sorted(path.parent.glob(pattern))))]
    return read_index(found[0][0]) if found and len(found[0]) == 1 else {}
