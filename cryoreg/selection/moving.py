"""Files that a list names relative to its own folder, once it is written into another one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.tomograms.names import find_above
from cryoreg.selection.listed import Listed

_NAMING = (relion.IMAGE, relion.FILE, *relion.TOMOGRAMS)
"""Columns that may name files."""


def check_names(lists: Sequence[Listed], output: Path) -> list[str]:
    """Return notes on lists whose file names lead to nothing from the folder of ``output``.

    One name of each folder is looked up. Raises `DataError` where a name leads to another file from there, as where
    lists of two RELION projects are merged, each with images of its own in Extract/job012.
    """
    notes = []
    for each in lists:
        home, away = Path(each.path).resolve().parent, output.resolve().parent
        for column, name in _names(each) if home != away else ():
            before, after = find_above(name, home), find_above(name, away)
            if before and after and not os.path.samefile(before, after):
                refuse(
                    each.path,
                    f"names '{name}' ({column}), which would be {after} for a list in {away}; write the selection "
                    f"into {home}, or give the list absolute names",
                )
            if before and not after:
                notes.append(
                    f"note: '{name}' ({column} of {each.path}) is not found from {away}: keep the list in its project, "
                    "or say where files are when you use it"
                )
                break
    return notes


def _names(listed: Listed) -> Iterator[tuple[str, str]]:
    """Yield, with its column, the first file name that is relative of each folder that a list names."""
    for column in _NAMING:
        folders = set()
        for cell in listed.table[column].unique() if column in listed.table else ():
            name = str(cell).rpartition("@")[2]
            folder = os.path.dirname(name)
            if folder not in folders and folder and not os.path.isabs(name):
                folders.add(folder)
                yield column, name
