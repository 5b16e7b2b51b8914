"""The classes of a table's rows, by a column that holds them, and notes on what such columns may mean."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.columns import class_name, each_of, natural_order
from cryoreg.datasets.io.volume_files import refuse

_CLASSES_AND_ZERO = 3
"""Values of a column of classes that has more than 0 and 1, which are two classes."""


def class_labels(path: str | Path, table: pd.DataFrame, column: str | None) -> tuple[list[str], list[int | None]]:
    """Return the class names that a column holds, in natural order, and the label of each row.

    The label is None where the cell is empty, None or NA.
    """
    if column is None:
        return [], [None] * len(table)
    column = column.removeprefix("_")
    if column not in table:
        listed = ", ".join(map(str, table.columns))
        refuse(path, f"has no column '{column}' to take classes from (it has: {listed}); check dataset.label")
    names = each_of(table[column], class_name)
    if column == relion.CLASS_NUMBER and relion.CLASS_NAME in table:
        named = each_of(table[relion.CLASS_NAME], class_name)
        names = [None if number == "0" and not name else number for number, name in zip(names, named, strict=True)]
    classes = sorted({name for name in set(names) if name}, key=natural_order)
    index: dict[str | None, int] = {name: label for label, name in enumerate(classes)}
    return classes, list(map(index.get, names))


def note_on_two(path: str, table: pd.DataFrame, taken: str | None, names: str, numbers: str) -> list[str]:
    """Return a note where names of classes, which are taken, and their numbers are of two classifications."""
    if taken != names or numbers not in table:
        return []
    both = table[[names, numbers]].drop_duplicates()
    if not both[names].duplicated().any() and not both[numbers].duplicated().any():
        return []
    return [
        f"{path}: {names} and {numbers} are of two classifications; the names are taken: if the numbers are meant, say "
        f"--set dataset.label={numbers}"
    ]


def note_on_zero(path: str, table: pd.DataFrame, column: str | None) -> list[str]:
    """Return a note where a column of class numbers has 0, which stands for no class where others are told."""
    if column is None:
        return []
    known = pd.to_numeric(table[column], errors="coerce")
    zeros = int((known == 0).sum())
    if known.isna().any() or not zeros or known.nunique() < _CLASSES_AND_ZERO:
        return []
    return [
        f"{path}: {zeros:,} particles are of class 0 ({column}), which is taken for a class; if it stands for none, as "
        "where cryoreg or RELION write it, leave them out (cryoreg select --class), or give names of classes"
    ]
