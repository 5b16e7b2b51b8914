"""Tables of clusters or predictions, as cryoreg writes them, which name the file of their rows."""

from __future__ import annotations

import os
from pathlib import Path

from cryoreg.datasets.io.columns import texts
from cryoreg.datasets.io.text_tables import read_text_table
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.label_lists import ID

TABLES = (".csv", ".tsv")
GROUPED = ("cluster", "prediction")
"""Columns that say of which group a row is, the first before the second."""


def data_of_table(source: Path, advice: str) -> tuple[Path, Path | None]:
    """Return the data of a source, and the table that says groups of them: of such a table, both; else None.

    Raises `DataError`, with ``advice``, where its file is none, several, or not there.
    """
    table = read_text_table(os.fspath(source)) if source.is_file() and source.suffix.lower() in TABLES else None
    if table is None or not {ID, "file"} <= {*table} or not {*GROUPED} & {*table}:
        return source, None
    files = sorted({name for name in texts(table, "file") if name})
    if len(files) != 1 or not Path(files[0]).exists():
        what = f"'{files[0]}', which is not there" if len(files) == 1 else f"{len(files)} files"
        refuse(source, f"names {what} as its data; say {advice}")
    return Path(files[0]), source
