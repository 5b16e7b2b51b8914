"""Tables as text with a header: comma, semicolon, tab or blanks separate."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from cryoreg.datasets.io.text_files import read_text_lines
from cryoreg.datasets.io.volume_files import one_line, refuse, refuse_empty
from cryoreg.files import text_of_cell

Row = tuple[int, list[str]]
"""The number of a line, counted from 1, and its values."""
_NUMBER = re.compile(r"[-+]?\d[\d.,]*(?:[eE][-+]?\d+)?")
_EXCEL = re.compile(r"sep=(.)", re.IGNORECASE)
"""The line by which Excel is told what separates."""


class TextTable(NamedTuple):
    """A table as it stands in a file."""

    lines: list[str]
    """With their ends; a row is one of them, also where a quoted cell has line breaks."""
    header: list[str]
    """The names of the columns, as `read_text_table` has them."""
    rows: list[int]
    """The line of each row."""
    separator: str
    """What stands between two values."""


def locate_rows(path: str) -> TextTable:
    """Return where in a file the rows of `read_text_table` stand; raises the same errors."""
    lines = read_text_lines(path, "a text table")
    names, rows, begin = _header_and_rows(path, lines)
    mark, told = _separator(lines)
    begin = max(begin, int(told))
    whole, places = lines[:begin], []
    for end, _ in rows:
        while not _says_something(lines[begin]):
            whole.append(lines[begin])
            begin += 1
        places.append(len(whole))
        whole.append("".join(lines[begin:end]))
        begin = end
    return TextTable([*whole, *lines[begin:]], names, places, mark or " ")


def read_text_table(path: str) -> pd.DataFrame:
    """Return a table of text, None where a cell is empty; names are in lower case, with _ for blanks and brackets.

    Lines that begin with # are comments, and so is, where blanks separate, what follows a blank and #; the last comment
    before the first row is the header where that row has numbers and the comment as many names. Raises `DataError`,
    with the line, where a row has more or fewer values than the header has names, and where two names are one.
    """
    names, rows, _ = _header_and_rows(path, read_text_lines(path, "a text table"))
    table = [_row(path, number, len(names), values) for number, values in rows]
    return pd.DataFrame(table, columns=names, dtype=object)


def _header_and_rows(path: str, lines: Sequence[str]) -> tuple[list[str], list[Row], int]:
    """Return the names of the columns, the rows, and how many lines end with the header, 0 for one in a comment."""
    with one_line(path, "a text table"):
        rows = list(_rows(lines))
        if not rows:
            refuse(path, "is empty; add a header that names the columns x, y and z")
        header = _commented_header(lines, rows[0])
        end, header = (0, header) if header else rows.pop(0)
    return _names(path, header), rows, end


def blank_separated(lines: Sequence[str]) -> Iterator[Row]:
    """Yield each line that is more than a comment."""
    for number, line in enumerate(lines, 1):
        values = re.sub(r"(?<!\S)#.*", "", line).split()
        if values:
            yield number, values


def read_values(path: str, what: str) -> pd.DataFrame:
    """Return the cells, as text, of a table without a header, between blanks; its index has the numbers of the lines.

    Raises `DataError` where there is no row, or where rows have more or fewer values than the first.
    """
    rows = list(blank_separated(read_text_lines(path, what)))
    if not rows:
        refuse_empty(path)
    width = len(rows[0][1])
    for line, values in rows:
        if len(values) != width:
            refuse(path, f"line {line} has {len(values)} values where the first has {width}; mend it")
    return pd.DataFrame([values for _, values in rows], index=[line for line, _ in rows])


def with_numbers(path: str, table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return a table of `read_values` with some columns as finite numbers, and its rows counted from 0.

    Raises `DataError`, with the line, where a cell of these is none.
    """
    found = table[[*names]].apply(pd.to_numeric, errors="coerce")
    bad = ~np.isfinite(found.to_numpy(np.float64)).all(axis=1)
    if bad.any():
        refuse(path, f"line {table.index[bad][0]} has no numbers for {', '.join(names)}; mend it")
    return table.assign(**{name: found[name] for name in names}).reset_index(drop=True)


def _rows(lines: Sequence[str]) -> Iterator[Row]:
    """Yield each line that says something."""
    mark, told = _separator(lines)
    if mark is None:
        yield from blank_separated(lines)
        return
    kept = [line if _says_something(line) else "\n" for line in lines]
    if told:
        kept[0] = "\n"
    reader = csv.reader(kept, delimiter=mark, skipinitialspace=True)
    for values in reader:
        if values:
            yield reader.line_num, values


def _separator(lines: Sequence[str]) -> tuple[str | None, bool]:
    """Return what separates the values, None for blanks, and whether the first line says so, as Excel's may."""
    told = _EXCEL.fullmatch(lines[0].strip()) if lines else None
    if told is not None:
        return told[1], True
    header = next(filter(_says_something, lines), "").strip()
    mark = max(",;\t", key=header.count)
    return (mark if mark in header else None), False


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _commented_header(lines: Sequence[str], first: Row) -> list[str] | None:
    """Return the names in the last comment before the first row, where that row is one of values and not of names."""
    comments = [line for line in lines[: first[0] - 1] if line.lstrip().startswith("#")]
    if not comments or not any(map(is_number, first[1])):
        return None
    names = next(_rows([comments[-1].lstrip().lstrip("#")]), (0, []))[1]
    return names if len(names) == len(first[1]) and not any(map(is_number, names)) else None


def is_number(text: str) -> bool:
    """Tell whether a text is a number, with a decimal point or comma."""
    return _NUMBER.fullmatch(text.strip()) is not None


def _names(path: str, header: Sequence[str]) -> list[str]:
    names: dict[str, str] = {}
    for number, written in enumerate(header, 1):
        name = re.sub(r"[\s\[\(\]\)]+", "_", written.strip().lower()).strip("_") or f"column_{number}"
        if name in names and is_number(name):
            listed = ", ".join(header)
            refuse(path, f"has no columns x, y and z (its first line is: {listed}); add a header that names them")
        if name in names:
            refuse(path, f"has the columns '{names[name]}' and '{written.strip()}', which are one name; rename one")
        names[name] = written.strip()
    return list(names)


def _row(path: str, number: int, width: int, values: Sequence[str]) -> list[str | None]:
    """Return a row's cells; empty ones beyond the last column, as some programs write, are left out."""
    cells = [text_of_cell(value.strip()) or None for value in values]
    if len(cells) < width or any(cells[width:]):
        refuse(path, f"line {number} has {len(cells)} values for {width} columns; mend it")
    return cells[:width]
