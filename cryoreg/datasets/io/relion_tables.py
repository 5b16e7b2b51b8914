"""Tables of STAR files: the particles of a list with what optics groups and other blocks say of them.

What their words mean is told in `relion`; blocks come from `star_blocks`, and what is not understood stays in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.columns import check_spelling
from cryoreg.datasets.io.star_blocks import items_of, read_lines, scan, table_of
from cryoreg.datasets.io.volume_files import one_line, refuse, refuse_empty

_SAME = 1e-3
"""Relative difference of two statements of one number that mean the same."""


def read_particles(path: str | Path) -> pd.DataFrame:
    """Return all particles of a STAR file, block after block, each with what optics group and general block say of it.

    Raises `DataError`, one line, where there are none, or where two statements contradict each other.
    """
    blocks = read_blocks(path)
    tables = {name: table for name, table in blocks.items() if relion.lists_particles(table.columns)}
    if not tables:
        for table in blocks.values():
            relion.check_words(path, table.columns)
        listed = ", ".join(str(column) for block in blocks.values() for column in block)
        places = " or ".join((relion.IMAGE, relion.COORDINATES[0], relion.CENTRED[0]))
        refuse(path, f"has no column {places} (it has: {listed or 'no columns'}); give the list of particles")
    filled = {name: table for name, table in tables.items() if not table.empty}
    if not filled:
        refuse_empty(path)
    _check_alike(path, filled)
    table = pd.concat(filled.values(), ignore_index=True)
    others = {name: block for name, block in blocks.items() if name not in tables}
    optics = [name for name, block in others.items() if relion.GROUP in block or name.lower() == relion.OPTICS]
    if len(optics) > 1:
        refuse(path, f"has the optics groups of '{optics[0]}' and those of '{optics[1]}'; keep one block")
    for name in optics:
        table = _with_optics(path, table, others.pop(name))
    for name, block in others.items():
        table = _with_statements(path, table, name, block)
    return table


def read_table(path: str | Path, needed: Sequence[str], what: str) -> pd.DataFrame:
    """Return the only table of a STAR file that has a column of ``needed``; ``what`` names its rows: "tilt images"."""
    blocks = read_blocks(path)
    tables = {name: table for name, table in blocks.items() if set(needed) & set(table.columns)}
    if not tables:
        for table in blocks.values():
            relion.check_words(path, table.columns)
        listed = ", ".join(str(column) for block in blocks.values() for column in block)
        refuse(path, f"has no column {' or '.join(needed)} (it has: {listed or 'no columns'}); give the list of {what}")
    filled = [name for name, table in tables.items() if not table.empty]
    if not filled:
        refuse_empty(path, what)
    if len(filled) > 1:
        refuse(path, f"lists {what} in the blocks '{filled[0]}' and '{filled[1]}'; make them one")
    return tables[filled[0]]


def read_blocks(path: str | Path) -> dict[str, pd.DataFrame]:
    """Return the blocks of a STAR file as tables; one of a single row where a block has no loop."""
    lines = read_lines(path)
    blocks: dict[str, pd.DataFrame] = {}
    with one_line(path, "a STAR file"):
        for block in scan(path, lines):
            check_spelling(path, block.labels, relion.WORDS)
            if block.name in blocks:
                refuse(path, f"has two blocks of the name '{block.name}'; rename one, or make them one")
            if block.is_table:
                blocks[block.name] = table_of(path, lines, block, relion.TEXTS)
            elif block.items:
                blocks[block.name] = pd.DataFrame([items_of(block, relion.TEXTS)])
    if not blocks:
        refuse(path, "holds no STAR table (no 'data_' block with columns); check how it was written")
    return blocks


def _check_alike(path: str | Path, tables: dict[str, pd.DataFrame]) -> None:
    """Raise `DataError` where blocks list particles in different ways: images here, coordinates or a unit there."""
    for what, columns in (("lists particles", relion.WAYS), ("names tomograms", relion.TOMOGRAMS)):
        ways = {name: [column for column in columns if column in table] for name, table in tables.items()}
        (first, way), *others = ways.items()
        for name, other in others:
            if other != way:
                one, two = (" and ".join(each) or "no column" for each in (way, other))
                refuse(path, f"{what} by {one} in block '{first}', but by {two} in '{name}'; split the file")


def _with_optics(path: str | Path, table: pd.DataFrame, groups: pd.DataFrame | None) -> pd.DataFrame:
    """Add to each particle the columns of its optics group that it lacks."""
    if groups is None or groups.empty:
        return table
    if relion.GROUP not in table or relion.GROUP not in groups:
        lacking = "particles" if relion.GROUP not in table else "optics groups"
        if len(groups) > 1:
            without = f"{lacking} without a column {relion.GROUP}"
            refuse(path, f"has {len(groups)} optics groups, but {without}; export it again")
        added = {column: groups[column].iloc[0] for column in groups if column != relion.GROUP}
        _check_same(path, table, {column: pd.Series(value, table.index) for column, value in added.items()}, "optics")
        return table.assign(**{column: value for column, value in added.items() if column not in table})
    check_one_of_each(path, groups, relion.GROUP, "optics group")
    index = groups.drop_duplicates(relion.GROUP).set_index(relion.GROUP)
    unknown = ~table[relion.GROUP].isin(index.index)
    if unknown.any():
        row = int(np.flatnonzero(unknown)[0])
        group = table[relion.GROUP][row]
        refuse(path, f"names optics group {group} in row {row}, which its optics table lacks; add it")
    told = {column: table[relion.GROUP].map(index[column]) for column in index.columns}
    _check_same(path, table, told, "optics")
    return table.assign(**{column: values for column, values in told.items() if column not in table})


def check_one_of_each(path: str | Path, table: pd.DataFrame, key: str, what: str) -> None:
    """Raise `DataError` where two rows name one thing by ``key`` and say different things of it."""
    distinct = table.drop_duplicates()
    twice = distinct[distinct[key].duplicated(keep=False)]
    if twice.empty:
        return
    one, other = twice[twice[key] == twice[key].iloc[0]].iloc[:2].to_dict("records")
    column = next(name for name in one if one[name] != other[name])
    refuse(path, f"has {what} {one[key]} twice, with {column} {one[column]} and {other[column]}; keep one")


def _with_statements(path: str | Path, table: pd.DataFrame, name: str, block: pd.DataFrame) -> pd.DataFrame:
    """Add what another block says of all particles: single values, as ``data_general`` has them.

    Raises `DataError` where it has sizes for several things, of which nothing tells the particles that they belong to.
    """
    told = {column: pd.Series(block[column].iloc[0], table.index) for column in block if len(block) == 1}
    _check_same(path, table, told, name)
    untold = [column for column in relion.COORDINATE_SIZES if column in block and column not in (*table, *told)]
    if untold and len(block):
        refuse(
            path,
            f"has {len(block)} values of {untold[0]} in block '{name}' and none for its particles; give them a column",
        )
    return table.assign(**{column: values for column, values in told.items() if column not in table})


def _check_same(path: str | Path, table: pd.DataFrame, told: dict[str, pd.Series[Any]], block: str) -> None:
    """Raise `DataError` where particles and another block say different numbers of one thing."""
    for column, values in told.items():
        if column not in table:
            continue
        own, other = (pd.to_numeric(each, errors="coerce").to_numpy(float) for each in (table[column], values))
        different = np.abs(own - other) > _SAME * np.maximum(np.abs(own), np.abs(other))
        if column in relion.TOMOGRAMS:
            different |= (table[column].astype(str) != values.astype(str)).to_numpy(bool)
        apart = np.flatnonzero(different)
        if len(apart):
            row = apart[0]
            refuse(
                path,
                f"says {column} {table[column][row]} in row {row} of its particles and {values[row]} in block "
                f"'{block}'; mend one",
            )
