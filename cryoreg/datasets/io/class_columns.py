"""The classes of a table's rows, by a column that holds them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.columns import class_name, each_of, natural_order
from cryoreg.datasets.io.volume_files import refuse


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
