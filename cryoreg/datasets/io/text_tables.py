"""Tables as text with a header: comma, semicolon, tab or blanks separate."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence

import pandas as pd

from cryoreg.datasets.io.volume_files import one_line, refuse
from cryoreg.files import text_of_cell


def read_text_table(path: str) -> pd.DataFrame:
    """Return a table of text, None where a cell is empty; names are in lower case, with _ for blanks and brackets.

    Lines that begin with # are comments, and so is, where blanks separate, what follows a blank and #. Raises
    `DataError`, with the line, where a row has more or fewer values than the header has names, and where two names are
    one.
    """
    with one_line(path, "a text table"):
        with open(path, encoding="utf-8-sig", newline="") as stream:
            lines = list(stream)
        if not lines or not lines[0].strip():
            refuse(path, "is empty or begins with an empty line; add a header that names the columns x, y and z")
        (_, header), *rows = _rows(lines)
    names = _names(path, header)
    table = [_row(path, number, len(names), values) for number, values in rows]
    return pd.DataFrame(table, columns=names, dtype=object)


def blank_separated(lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that is more than a comment, counted from 1, and its values."""
    for number, line in enumerate(lines, 1):
        values = re.sub(r"(?<!\S)#.*", "", line).split()
        if values:
            yield number, values


def _rows(lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that says something, counted from 1, and its values."""
    header = next((line for line in lines if _says_something(line)), lines[0])
    counts = {mark: header.count(mark) for mark in ",;\t"}
    mark = max(counts, key=lambda each: counts[each])
    if not counts[mark]:
        yield from blank_separated(lines)
        return
    kept = [line if _says_something(line) else "\n" for line in lines]
    reader = csv.reader(kept, delimiter=mark, skipinitialspace=True)
    for values in reader:
        if values:
            yield reader.line_num, values


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _names(path: str, header: Sequence[str]) -> list[str]:
    names: dict[str, str] = {}
    for number, written in enumerate(header, 1):
        name = re.sub(r"[\s\[\(\]\)]+", "_", written.strip().lower()).strip("_") or f"column_{number}"
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
