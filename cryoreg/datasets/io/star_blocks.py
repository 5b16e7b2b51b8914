"""The blocks of a STAR file: where in its text the columns and rows of each table stand, and what the cells say."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryoreg.datasets.io.star_text import BLANKS, is_plain, spans, unquoted
from cryoreg.datasets.io.text_files import read_text_lines
from cryoreg.datasets.io.volume_files import one_line, refuse

if TYPE_CHECKING:
    import pandas as pd

_MISSING = ("nan", "NaN", "<NA>")
_NUMBERED = ("rln", "cryoreg")
"""How words begin whose whole numbers are numbers; those of others may be names."""
_NAME = r"0\d+|\d+[eE]\d+"
"""What would lose letters as a number: 007, and 1e10 of the Protein Data Bank; programs write 1e+10."""
_BLOCK, _LOOP = "data_", "loop_"


@dataclass
class StarBlock:
    """A block "data_NAME": single items, or a table whose rows are one line each."""

    name: str
    items: dict[str, str] = field(default_factory=dict)
    """Label -> value, of a block without a loop."""
    labels: dict[str, int] = field(default_factory=dict)
    """Column -> the line that names it, in order."""
    rows: list[int] = field(default_factory=list)
    """The line of each row."""
    is_table: bool = False


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a STAR file with their ends; raise `DataError` where it is not UTF-8 text."""
    return read_text_lines(path, "a STAR file")


def first_values(path: str | Path) -> dict[str, str]:
    """Return each label of a STAR file with the first value that it has in the first block with it, "" where none.

    Every reader asks: a file is gone through once while it does not change. Raises `DataError` as `scan` does.
    """
    with one_line(path, "a STAR file"):
        state = os.stat(path)
    return dict(_first_values(os.fspath(path), state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=8)
def _first_values(path: str, changed: int, size: int) -> dict[str, str]:
    lines, found = read_lines(path), dict[str, str]()
    for block in scan(path, lines):
        cells = map(unquoted, tokens(lines[block.rows[0]])) if block.rows else ()
        row = {**dict.fromkeys(block.labels, ""), **dict(zip(block.labels, cells, strict=False))}
        found = {**row, **block.items, **found}
    return found


def scan(path: str | Path, lines: Sequence[str]) -> list[StarBlock]:
    """Return the blocks of a STAR file; raise `DataError`, with the line, for what is none of its statements."""
    blocks: list[StarBlock] = []
    for number, line in enumerate(lines):
        if blocks and blocks[-1].rows and _is_row(line):
            blocks[-1].rows.append(number)
            continue
        values = tokens(line if number else line.removeprefix("\ufeff"))
        if _begins_block(values):
            blocks.append(StarBlock(values.pop(0)[len(_BLOCK) :]))
        if values and blocks:
            _add(path, blocks[-1], number, values)
        elif values and (values[0].startswith("_") or values[0].lower() == _LOOP):
            refuse(path, f"line {number + 1}: '{values[0]}' belongs to no block; put a line 'data_' before it")
    return blocks


def _begins_block(values: Sequence[str]) -> bool:
    """Tell whether a line names a block, as STAR does in upper or lower case: "data_NAME", or "data_NAME loop_"."""
    return bool(values) and values[0].lower().startswith(_BLOCK) and [*map(str.lower, values[1:])] in ([], [_LOOP])


def _is_row(line: str) -> bool:
    """Tell at a glance whether a line below a row is another one; most lines of a list are."""
    text = line.lstrip(BLANKS)
    return bool(text) and not (text[0] in "#_" or text[: len(_BLOCK)].lower() in (_BLOCK, _LOOP))


def tokens(line: str) -> list[str]:
    """Return the values of a line as they stand there."""
    return line.split() if is_plain(line) else [line[start:stop] for start, stop in spans(line)]


def table_of(path: str | Path, lines: Sequence[str], block: StarBlock, as_text: Collection[str]) -> pd.DataFrame:
    """Return a block's table; columns that are not ``as_text`` become numbers where all of their cells are.

    So do not those of words of others than RELION that have cells such as 007 or 1e10, which are names.

    Raises `DataError`, with the line, where a row has more or fewer values than there are columns.
    """
    import pandas as pd

    if not block.rows:
        return pd.DataFrame(columns=list(block.labels))
    text = "".join(lines[number] for number in block.rows)
    table = _plain_table(lines, block, text, as_text) if is_plain(text) else None
    if table is not None:
        return table
    cells = io.StringIO()
    csv.writer(cells, lineterminator="\n").writerows(_cells(path, lines, block))
    cells.seek(0)
    return _parsed(cells, block, as_text, index_col=False, skip_blank_lines=False)


def _plain_table(lines: Sequence[str], block: StarBlock, text: str, as_text: Collection[str]) -> pd.DataFrame | None:
    """Return the table of rows without quotes and comments; None where a row has not a value for each column."""
    from pandas.errors import ParserError

    if len(tokens(lines[block.rows[0]])) != len(block.labels):
        return None  # the first row tells pandas how many values to expect
    try:
        table = _parsed(io.BytesIO(text.encode()), block, as_text, sep=r"\s+", quoting=csv.QUOTE_NONE)
    except ParserError:
        return None
    last = table[table.columns[-1]]
    suspects = (last.isna() | (last == "")).to_numpy().nonzero()[0]  # pandas fills short rows up at their end
    if any(len(tokens(lines[block.rows[row]])) != len(block.labels) for row in suspects):
        return None
    return table


def _parsed(cells: io.StringIO | io.BytesIO, block: StarBlock, as_text: Collection[str], **more: Any) -> pd.DataFrame:
    import pandas as pd

    told = {name: str for name in block.labels if name in as_text}
    read = partial(
        pd.read_csv,
        names=list(block.labels),
        header=None,
        keep_default_na=False,
        na_values=list(_MISSING),
        low_memory=False,
        **more,
    )
    table = read(cells, dtype=told)
    perhaps = [name for name in table if not name.startswith(_NUMBERED) and _is_whole(table[name])]
    if perhaps:
        cells.seek(0)
        written = read(cells, dtype=str, usecols=perhaps)
        table = table.assign(**{name: written[name] for name in perhaps if written[name].str.fullmatch(_NAME).any()})
    return table


def _is_whole(column: pd.Series[Any]) -> bool:
    """Tell whether a column has whole numbers and no others."""
    return column.dtype.kind in "iu" or (column.dtype.kind == "f" and bool((column.dropna() % 1 == 0).all()))


def items_of(block: StarBlock, as_text: Collection[str]) -> dict[str, str | int | float]:
    """Return the items of a block without a loop; those that are not ``as_text`` become numbers where they are some."""
    return {label: value if label in as_text else _number(value) for label, value in block.items.items()}


def _add(path: str | Path, block: StarBlock, number: int, values: Sequence[str]) -> None:
    """Take a line of a block: the beginning of its loop, a label, an item or a row."""
    if [*map(str.lower, values)] == [_LOOP]:
        if block.is_table or block.items:
            refuse(path, f"line {number + 1}: a second table in block '{block.name}' cannot be read; give it a block")
        block.is_table = True
    elif values[0].startswith("_") and not block.rows:
        _label(path, block, number, values)
    elif not block.is_table:
        refuse(path, f"line {number + 1}: '{values[0]}' belongs to no label; check how the file was written")
    else:
        block.rows.append(number)


def _label(path: str | Path, block: StarBlock, number: int, values: Sequence[str]) -> None:
    label = values[0].removeprefix("_")
    if label in block.labels or label in block.items:
        refuse(path, f"line {number + 1}: '{label}' is there twice in block '{block.name}'; remove one")
    if block.is_table and values[1:] in ([], [str(len(block.labels) + 1)]):  # some number columns without a #
        block.labels[label] = number
    elif not block.is_table and len(values) == 2:
        block.items[label] = unquoted(values[1])
    else:
        wanted = "none in a table" if block.is_table else "one"
        refuse(path, f"line {number + 1}: '{label}' has {len(values) - 1} values where {wanted} is expected; mend it")


def _cells(path: str | Path, lines: Sequence[str], block: StarBlock) -> Iterator[list[str]]:
    width = len(block.labels)
    for number in block.rows:
        values = tokens(lines[number])
        if len(values) != width:
            refuse(path, f"line {number + 1} has {len(values)} values for {width} columns; mend it")
        yield [unquoted(value) for value in values]


def _number(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
