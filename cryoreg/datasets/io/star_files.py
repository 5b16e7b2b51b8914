"""STAR files of RELION, Warp and M as tables: one row per particle, with what its optics group says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.datasets.io.star_blocks import items_of, scan, table_of
from cryoreg.datasets.io.volume_files import one_line, refuse
from cryoreg.datasets.unlabelled import names_no_class

_NAMES = (
    "rlnTomoName",
    "rlnMicrographName",
    "rlnImageName",
    "rlnTomoReconstructedTomogram",
    "rlnTomoTiltSeriesStarFile",
    "rlnTomoParticleName",
    "rlnOpticsGroupName",
)
"""Columns that stay text, also where every value looks like a number."""
_GROUP = "rlnOpticsGroup"


def read_star(path: str | Path, needed: Iterable[str], what: str) -> pd.DataFrame:
    """Return the tables of a STAR file that have a column of ``needed``, as one, joined with the optics groups.

    Rows are in the order of the file. Raises `DataError` where there are none; ``what`` names them: "particles".
    """
    blocks = read_blocks(path)
    wanted = list(needed)
    tables = [block for block in blocks.values() if isinstance(block, pd.DataFrame) and set(wanted) & set(block)]
    if not tables:
        listed = ", ".join(str(column) for block in blocks.values() for column in block)
        refuse(path, f"has no column {' or '.join(wanted)} (it has: {listed or 'no columns'}); give the list of {what}")
    if all(table.empty for table in tables):
        refuse(path, f"lists no {what}; check how it was written")
    table = pd.concat([table for table in tables if not table.empty], ignore_index=True)
    return _with_optics(path, table, blocks.get("optics"))


def read_blocks(path: str | Path) -> dict[str, Any]:
    """Return the blocks of a STAR file: tables, and dictionaries for those without a loop."""
    with one_line(path, "a STAR file"):
        try:
            with open(path, encoding="utf-8-sig", newline="") as stream:
                lines = list(stream)
        except UnicodeDecodeError:
            lines = []
        blocks: dict[str, Any] = {}
        for block in scan(path, lines):
            if block.name in blocks:
                refuse(path, f"has two blocks of the name '{block.name}'; rename one, or make them one")
            if block.is_table:
                blocks[block.name] = table_of(path, lines, block, _NAMES)
            elif block.items:
                blocks[block.name] = items_of(block, _NAMES)
    if not blocks:
        refuse(
            path, "holds no STAR table (no 'data_' block with columns), or is not UTF-8 text; check how it was written"
        )
    return blocks


def _with_optics(path: str | Path, table: pd.DataFrame, optics: Any) -> pd.DataFrame:
    """Add to each particle the columns of its optics group that it lacks."""
    if optics is None or _GROUP not in table:
        return table
    groups = pd.DataFrame([optics]) if isinstance(optics, dict) else optics
    if _GROUP not in groups:
        refuse(path, f"has optics groups without a column {_GROUP}; export it again")
    index = groups.drop_duplicates(_GROUP).set_index(_GROUP)
    unknown = ~table[_GROUP].isin(index.index)
    if unknown.any():
        row = int(np.flatnonzero(unknown)[0])
        refuse(path, f"names optics group {table[_GROUP][row]} in row {row}, which its optics table lacks; add it")
    added = [column for column in index.columns if column not in table]
    return table.assign(**{column: table[_GROUP].map(index[column]) for column in added})


def numbers(path: str | Path, table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return a column as finite numbers; raise `DataError`, with the first bad row, where it has others."""
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        refuse(path, f"has '{table[column].iloc[bad[0]]}' for {column} in row {bad[0]}, not a number; mend the row")
    return values


def triples(path: str | Path, table: pd.DataFrame, columns: Iterable[str]) -> NDArray[np.float64] | None:
    """Return three columns of numbers, (N, 3); None where none of them is there, a `DataError` where some are."""
    names = list(columns)
    missing = [name for name in names if name not in table]
    if len(missing) == len(names):
        return None
    if missing:
        refuse(path, f"has no column {missing[0]}, though it has others of {', '.join(names)}; export it again")
    return np.stack([numbers(path, table, name) for name in names], axis=1)


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
    names = [_name(value) for value in table[column]]
    classes = sorted({name for name in names if name}, key=natural_order)
    index = {name: label for label, name in enumerate(classes)}
    return classes, [index.get(name) for name in names]


def natural_order(name: str) -> tuple[bool, float, str]:
    """Sort numbers by value, before text."""
    try:
        return (False, float(name), name)
    except ValueError:
        return (True, 0.0, name)


def _name(value: Any) -> str:
    """Write a value of a table as the name of a class; empty where there is none."""
    if pd.isna(value):
        return ""
    name = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    return "" if names_no_class(name) else name
