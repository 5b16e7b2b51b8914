"""Ids as they are said on a command line: one by one, or in a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cryoreg.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from cryoreg.datasets.rows_of_lists import RowsTold


def read_ids(said: Sequence[str]) -> list[str]:
    """Return ids from what is said, in that order, each once: an id, ids with commas between, or a file.

    A file holds an id on each line, or is a table with a column ``id``. Raises `DataError` where it is empty.
    """
    return list(dict.fromkeys(name for text in said for name in _ids(text)))


def rows_told_by(said: Sequence[str]) -> RowsTold:
    """Return by the rows of which lists ids go, as far as tables among what is said tell."""
    from cryoreg.datasets.label_lists import rows_told
    from cryoreg.datasets.rows_of_lists import RowsTold

    told = [rows_told(Path(text)) for text in said if Path(text).is_file() and _is_table(text)]
    return RowsTold.of((file, rows) for each in told for file, known in each.lists.items() for rows in (*known, None))


def _ids(text: str) -> list[str]:
    return _of_file(text) if Path(text).is_file() else text.split(",")


def _of_file(path: str) -> list[str]:
    from cryoreg.datasets.io.text_tables import read_text_table

    if _is_table(path):
        names = _of_table(read_text_table(path))
    else:
        names = [line for line in _lines(path) if line and not line.startswith("#")]
    if not names:
        raise DataError(f"{path}: holds no ids; write one on each line, or a table with a column id")
    return names


def _of_table(table: pd.DataFrame) -> list[str]:
    """Return the ids of a table; of labels with the time of each, those that have one by now."""
    if {"when", "class"} <= {*table}:
        table = table[table["id"].notna()].drop_duplicates("id", keep="last")
        table = table[table["class"].notna()]
    return [str(name) for name in table["id"] if name]


def _is_table(path: str) -> bool:
    return re.split(r"[,;\t]", next(iter(_lines(path)), "").lower().strip('"'))[0].strip('" ') == "id"


def _lines(path: str) -> list[str]:
    from cryoreg.datasets.io.text_files import read_text_lines

    return [line.strip() for line in read_text_lines(path, "a file of ids")]
