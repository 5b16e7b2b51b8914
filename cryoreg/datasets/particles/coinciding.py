"""Particles that a list has more than once: a copy in the test part would make a classifier look better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def same_places(which: NDArray[np.int64], places: NDArray[np.float64]) -> list[int | None] | None:
    """Return a number for each particle at whose very place another one is, the same for both; None where none is.

    ``which`` (N,) are the numbers of their tomograms, ``places`` (N, 3) voxels in these.
    """
    table = pd.DataFrame(np.column_stack([which, places]))
    twice = table.duplicated(keep=False)
    if not twice.any():
        return None
    numbers = table.groupby([*table.columns], sort=False).ngroup()
    return [number if repeated else None for number, repeated in zip(numbers.tolist(), twice.tolist(), strict=True)]


def note_on(keys: Sequence[int | None], labels: Sequence[int | None]) -> str:
    """Return a line on particles of which two or more share a key, and on how many of these differ in their label."""
    first, again = dict[int, int](), list[tuple[int, int]]()
    for row, key in enumerate(keys):
        if key is not None and first.setdefault(key, row) != row:
            again.append((first[key], row))
    apart = [rows for rows in again if len({labels[row] for row in rows} - {None}) > 1]
    classes = ""
    if apart:
        classes = f", {len(apart)} of them of another class (the first: rows {apart[0][0]} and {apart[0][1]})"
    return (
        f"{len(again)} of {len(keys)} particles are at the very place of another one (the first: rows {again[0][0]} "
        f"and {again[0][1]}){classes}; if they are the same, remove them"
    )
