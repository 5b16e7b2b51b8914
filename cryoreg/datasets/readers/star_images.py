"""Where the images lie that a STAR file names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.tomograms.names import find_above


class Image(NamedTuple):
    """The image of a particle: a file, or a slot in one."""

    file: str
    slot: int | None
    """Counted from 0; None where the file is one volume."""


def find_images(path: str, table: pd.DataFrame, folder: str | Path | None) -> list[Image]:
    """Return the file, and slot, of each particle; raise `DataError`, with the row, where one is not found."""
    found: dict[str, str] = {}
    names = [str(name) for name in table[relion.IMAGE]]
    images, rows, real = [], dict[Image, int](), dict[str, str]()
    for row, name in enumerate(names):
        slot, at, file = name.rpartition("@")
        if at and not slot.isdecimal():
            refuse(path, f"has '{name}' in row {row}, where the slot before @ is not a number; mend it")
        if file not in found:
            found[file] = _locate(path, file, folder, row)
            real[file] = os.path.realpath(found[file])
        image = Image(found[file], int(slot) - 1 if at else None)
        first = rows.setdefault(image._replace(file=real[file]), row)
        if first != row:
            other = "" if name == names[first] else f", there as '{name}'"
            refuse(path, f"lists '{names[first]}' twice (rows {first} and {row}{other}); remove one")
        images.append(image)
    return images


def _locate(path: str, name: str, folder: str | Path | None, row: int) -> str:
    if folder is not None:
        file = os.path.join(folder, name)
        if os.path.isfile(file):
            return file
        refuse(path, f"names '{name}' in row {row}, which is not in {folder}; check dataset.folder")
    above = find_above(name, Path(path).parent)
    if above is None:
        refuse(
            path,
            f"names '{name}' in row {row}, which is neither in its folder nor in one above it; "
            "say --set dataset.folder=<the folder where RELION ran>",
        )
    if not os.path.isfile(above):
        refuse(path, f"names '{name}' in row {row}, which is no file; mend the row")
    return above
