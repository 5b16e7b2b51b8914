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


def _ids(text: str) -> list[str]:
    return _of_file(text) if Path(text).is_file() else text.split(",")


def _of_file(path: str) -> list[str]:
    from cryoreg.datasets.io.text_files import read_text_lines
    from cryoreg.datasets.io.text_tables import read_text_table

    lines = [line.strip() for line in read_text_lines(path, "a file of ids")]
    if re.split(r"[,;\t]", next(iter(lines), "").lower().strip('"'))[0].strip('" ') == "id":
        names = [str(name) for name in read_text_table(path)["id"] if name]
    else:
        names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise DataError(f"{path}: holds no ids; write one on each line, or a table with a column id")
    return names
