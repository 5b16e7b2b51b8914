"""What the lists that `cryoreg pick` writes say of tomograms, so that nobody needs to say it again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.columns import numbers, positive, texts
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.tomograms.kinds import ZARR
from cryoreg.datasets.tomograms.names import find_above

CONTRAST, TILT_AXIS, VOXEL_SIZE = "cryoregContrast", "cryoregTiltAxis", "cryoregTomogramVoxelSize"
TILTS = ("cryoregTiltMin", "cryoregTiltMax")
UNKNOWN = "unknown"
IN_TEXT = dict(zip((CONTRAST, *TILTS, TILT_AXIS), ("contrast", "tilt_min", "tilt_max", "tilt_axis"), strict=True))
"""What text tables call them."""
_UPRIGHT = 90.0
_SIGNS = ("bright", "dark")
_AXES = ("x", "y")


class Carried(NamedTuple):
    """What a list says of the tomograms of its particles, None where it does not."""

    files: Sequence[str | None] | None = None
    """The tomogram's file: absolute, or below the list's folder or one above it."""
    contrasts: Sequence[str | None] | None = None
    tilt_axes: Sequence[str | None] | None = None
    voxel_sizes: Sequence[float] | None = None
    """Å per voxel of the tomogram, as it was picked."""


SILENT = Carried()
"""Of a list that says nothing of them."""


def of_star(path: str, table: pd.DataFrame) -> Carried:
    """Read the columns of a STAR file."""
    return Carried(
        texts(table, relion.FILE) if relion.FILE in table else None,
        _words(path, table, CONTRAST, _SIGNS),
        _words(path, table, TILT_AXIS, _AXES),
        positive(path, VOXEL_SIZE, numbers(path, table, VOXEL_SIZE)).tolist() if VOXEL_SIZE in table else None,
    )


def of_text(table: pd.DataFrame) -> Carried:
    """Read the columns of a text table; words that others use otherwise are none."""
    return Carried(None, _if_all(table, IN_TEXT[CONTRAST], _SIGNS), _if_all(table, IN_TEXT[TILT_AXIS], _AXES))


def tilts_of_star(path: str, table: pd.DataFrame) -> list[tuple[float, float] | None] | None:
    """Return the smallest and largest tilt of each particle, degrees; None where the list does not say."""
    return tilts_of(path, table, TILTS)


def tilts_of(path: str, table: pd.DataFrame, columns: tuple[str, str]) -> list[tuple[float, float] | None] | None:
    """Return two columns as the smallest and largest tilt of each particle, degrees; None where they are not there.

    Raises `DataError`, with the first row, where they are no range of tilts.
    """
    if not set(columns) <= set(table.columns):
        return None
    low, high = (numbers(path, table, column) for column in columns)
    bad = np.flatnonzero(~((low >= -_UPRIGHT) & (low < high) & (high <= _UPRIGHT) & (high - low > np.pi)))
    if len(bad):
        row = bad[0]
        refuse(
            path,
            f"has {columns[0]} {low[row]:g} and {columns[1]} {high[row]:g} in row {row}, no smallest and largest tilt "
            "in degrees (-60 and 60); mend or remove the columns",
        )
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _words(path: str, table: pd.DataFrame, column: str, known: Sequence[str]) -> list[str | None] | None:
    if column not in table:
        return None
    found = [None if word == UNKNOWN else word for word in texts(table, column)]
    for row, word in enumerate(found):
        if word is not None and word not in known:
            refuse(path, f"has '{word}' for {column} in row {row}; write {', '.join(known)} or {UNKNOWN}")
    return found


def _if_all(table: pd.DataFrame, column: str, known: Sequence[str]) -> list[str | None] | None:
    found = [word and word.lower() for word in texts(table, column)] if column in table else []
    return found if {*found} <= {None, *known} and any(found) else None


def in_folders(path: str, names: Sequence[str | None], files: Sequence[str | None] | None) -> Sequence[str | None]:
    """Return the names of tomograms with the folder of the file that a list (``path``) names for each.

    Tomograms of one name in two folders are two. A name that says its folder, and one without a file, stay as they are.
    """
    if files is None:
        return names
    home = Path(path).absolute().parent
    folders = {file: _folder(file, home) for file in set(files) if file}
    return [
        os.path.join(folders[file], name) if file and name and not os.path.dirname(name) else name
        for name, file in zip(names, files, strict=True)
    ]


def _folder(file: str, home: Path) -> str:
    """Return the folder of a tomogram's file, absolute where it is there; of a level of OME-Zarr, that of the image."""
    found = Path(find_above(file, home) or file)
    image = found.parent if found.parent.name.lower().endswith(ZARR) else found
    real = Path(os.path.realpath(image))
    return os.fspath((real if real.name == image.name else image).parent) if image.exists() else os.fspath(image.parent)


def written(file: str | Path, folder: Path) -> str:
    """Return how a list in ``folder`` names a file: relative where that lies below, else absolute."""
    path = Path(os.path.abspath(file))
    home = Path(os.path.abspath(folder))
    return str(path.relative_to(home) if path.is_relative_to(home) else path)


def single(values: Iterable[str | None]) -> str | None:
    """Return the value that all have, None where they differ or one is not known."""
    found = set(values)
    return found.pop() if len(found) == 1 else None
