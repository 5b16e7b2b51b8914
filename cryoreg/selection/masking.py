"""How far the particles of a list are from masks of their tomograms, and columns that say so."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.particles.sniffing import WORDS, Kind, kind_of_list
from cryoreg.datasets.readers.listed_places import ListedPlaces
from cryoreg.datasets.tomograms.masks import Marks, Where, masks_for
from cryoreg.inference.particle_text import ParticleText
from cryoreg.selection.listed import TEXTS

_FIXED: Mapping[Kind | None, str] = {kind: WORDS[kind] for kind in ("emclarity", "points", "coords", "pytom")}
"""Lists without names of columns."""
_REMARK = re.compile(r"(?<!\S)#.*")


def measure(listed: ListedPlaces, wheres: Sequence[Where]) -> tuple[list[Marks], list[str]]:
    """Return what each mask says of the particles of a list, shifts included, and notes on the masks.

    Raises a `CryoregError`, one line, where a mask is not clear, or it contradicts its tomogram.
    """
    count = len(listed.places)
    masks = masks_for(wheres, [each.tomogram for each in listed.placed])
    notes = [note for of in masks for mask in of for note in mask.notes]
    found = [Marks(np.empty(count), np.empty(count, dtype=bool)) for _ in wheres]
    for each in listed.placed:
        for whole, mask in zip(found, masks.pop(0), strict=True):
            for column, part in zip(whole, mask.marks(listed.places[each.rows]), strict=True):
                column[each.rows] = part
    return found, notes


def check_columns(path: str, wheres: Sequence[Where]) -> None:
    """Raise `DataError` where a list cannot hold what masks mark."""
    if not any(where.verb == "mark" for where in wheres):
        return
    what = "a Dynamo table" if path.lower().endswith(".tbl") else _FIXED.get(kind_of_list(path))
    if what is not None:
        refuse(path, f"is {what}, without columns for marks; use keep or drop, or write STAR or CSV")


def prefix_of(path: str) -> str:
    """Return how names of columns begin in a file of this kind."""
    return "" if Path(path).suffix.lower() in TEXTS else "cryoreg"


def with_columns(text: ParticleText, columns: Mapping[str, Sequence[str]]) -> ParticleText:
    """Return a list with more columns, all else as it is; raise `DataError` where a table has one of them already."""
    if not columns:
        return text
    if Path(text.path).suffix.lower() in TEXTS:
        return _delimited(text, columns)
    return ParticleText.star_of(text.path, list(io.StringIO(text.with_columns(columns), newline="")))


def _delimited(text: ParticleText, columns: Mapping[str, Sequence[str]]) -> ParticleText:
    [table] = text.tables
    if there := sorted(columns.keys() & {name.lower() for name in table.labels} | columns.keys() & set(table.labels)):
        refuse(text.path, f"has a column '{there[0]}' already; rename the mask, or take the column out")
    header = _header(text.lines, table.rows[0])
    mark = max(",;\t", key=text.lines[header].count)
    mark = mark if mark in text.lines[header] else " "
    lines = list(text.lines)
    lines[header] = _longer(lines[header], list(columns), mark, len(table.labels))
    for number, *values in zip(table.rows, *columns.values(), strict=True):
        lines[number] = _longer(lines[number], values, mark, len(table.labels))
    return text._replace(lines=lines)


def _header(lines: Sequence[str], first: int) -> int:
    """Return the line that names the columns: the last one before the first row that is no comment, else a comment."""
    filled = [number for number in range(first) if lines[number].strip()]
    return next((number for number in reversed(filled) if not lines[number].lstrip().startswith("#")), filled[-1])


def _longer(line: str, values: Sequence[str], mark: str, width: int) -> str:
    """Return a row with more values behind its last one; ``width`` is how many there should be before."""
    row = line.rstrip("\r\n")
    end = line[len(row) :]
    if mark == " ":
        remark = _REMARK.search(row) if not row.lstrip().startswith("#") else None
        kept = row[: remark.start()].rstrip() if remark else row.rstrip()
        return mark.join([kept, *values]) + (f"  {remark[0]}" if remark else "") + end
    for _ in range(len(next(csv.reader([row], delimiter=mark, skipinitialspace=True))) - width):
        row = row.rstrip().removesuffix(mark)
    return mark.join([row, *values]) + end
