"""Tables of clusters or predictions, as cryoreg writes them, which name the file of their rows."""

from __future__ import annotations

import os
from pathlib import Path

from cryoreg.contracts import Subtomograms
from cryoreg.datasets.io.columns import texts
from cryoreg.datasets.io.text_tables import read_text_table
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.label_lists import ID, with_labels
from cryoreg.datasets.particles.sniffing import folder_of

TABLES = (".csv", ".tsv")
GROUPED = ("cluster", "prediction")
"""Columns that say of which group a row is, the first before the second."""


def data_of_table(source: Path, advice: str) -> tuple[Path, Path | None]:
    """Return the data of a source, and the table that says groups of them: of such a table, both; else None.

    Its data are the file that it names, or the folder of all of them, be they volumes or lists. A list with coordinates
    of its own is no such table. Raises `DataError`, with ``advice``, where its file is none, several, or not there.
    """
    table = read_text_table(os.fspath(source)) if source.is_file() and source.suffix.lower() in TABLES else None
    if table is None or not {ID, "file"} <= {*table} or not {*GROUPED} & {*table} or {*"xyz"} <= {*table}:
        return source, None
    files = sorted({name for name in texts(table, "file") if name})
    folders = {_folder(one, file) for one, file in zip(texts(table, ID), texts(table, "file"), strict=True)}
    volumes = folders.pop() if len(folders) == 1 else None
    if len(files) > 1 and (folder := volumes or folder_of([*map(Path, files)])):
        files = [os.fspath(folder)]
    if len(files) != 1 or not Path(files[0]).exists():
        what = f"'{files[0]}', which is not there" if len(files) == 1 else f"{len(files)} files"
        refuse(source, f"names {what} as its data; say {advice}")
    return Path(files[0]), source


def _folder(one: str | None, file: str | None) -> str | None:
    """Return the folder below which an id is the name of its file, as in a folder of volumes; None where it is not."""
    return (file or "").rpartition(f"{os.sep}{one}.")[0] or None


def grouping(table: Path) -> str | None:
    """Return the column of a table that holds the groups, where it may hold labels, too."""
    columns = read_text_table(os.fspath(table)) if table.suffix.lower() in TABLES else {}
    return next((name for name in GROUPED if name in columns), None)


def with_groups(dataset: Subtomograms, table: Path | None) -> Subtomograms:
    """Return data with the groups that their table says for classes, and a note on where these come from."""
    if table is None:
        return dataset
    grouped = with_labels(dataset, table, grouping(table))
    grouped.notes = [*grouped.notes, f"{table.name} names these data, which are shown with its classes"]
    return grouped
