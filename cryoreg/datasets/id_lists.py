"""Ids as they are said on a command line: one by one, or in a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cryoreg.errors import DataError


def read_ids(said: Sequence[str]) -> list[str]:
    """Return ids from what is said, in that order, each once: an id, ids with commas between, or a file.

    A file holds an id on each line, or is a table with a column ``id``. Raises `DataError` where it is empty.
    """
    return list(dict.fromkeys(name for text in said for name in _ids(text)))


def lists_of(said: Sequence[str]) -> set[str]:
    """Return the lists by whose rows ids go, as far as tables among what is said name them in a column ``file``."""
    from cryoreg.datasets.io.columns import texts
    from cryoreg.datasets.io.text_tables import read_text_table

    tables = [read_text_table(text) for text in said if Path(text).is_file() and _is_table(text)]
    return {name for table in tables if "file" in table for name in texts(table, "file") if name}


def _ids(text: str) -> list[str]:
    return _of_file(text) if Path(text).is_file() else text.split(",")


def _of_file(path: str) -> list[str]:
    from cryoreg.datasets.io.text_tables import read_text_table

    if _is_table(path):
        names = [str(name) for name in read_text_table(path)["id"] if name]
    else:
        names = [line for line in _lines(path) if line and not line.startswith("#")]
    if not names:
        raise DataError(f"{path}: holds no ids; write one on each line, or a table with a column id")
    return names


def _is_table(path: str) -> bool:
    return re.split(r"[,;\t]", next(iter(_lines(path)), "").lower().strip('"'))[0].strip('" ') == "id"


def _lines(path: str) -> list[str]:
    from cryoreg.datasets.io.text_files import read_text_lines

    return [line.strip() for line in read_text_lines(path, "a file of ids")]
