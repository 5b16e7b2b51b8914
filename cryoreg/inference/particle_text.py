"""Lists of particles as text, to which columns are added while all else stays as it was, character by character."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Self

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.star_blocks import StarBlock, scan
from cryoreg.datasets.io.star_text import BLANKS, is_plain, quoted, spans
from cryoreg.datasets.io.text_tables import locate_rows
from cryoreg.datasets.particles.cryolo import CORNER
from cryoreg.errors import DataError

_PARTICLE = re.compile(r"(<Particle\b.*?</Particle\s*>\s*)", re.DOTALL)
"""An element of PyTom's list, with the blanks behind it."""


class Listing(NamedTuple):
    """Where in a file particles are listed."""

    labels: Mapping[str, int]
    """Column -> the line that names it, in order; in a Dynamo table, which names none, the number of the column."""
    rows: Sequence[int]
    """The line of each particle."""


class ParticleText(NamedTuple):
    """A file that lists particles, in one table or several."""

    path: str
    lines: Sequence[str]
    """Each with its end of line."""
    tables: Sequence[Listing]
    spans: Callable[[str], list[tuple[int, int]]] = spans
    """Where each value of a row begins and ends."""

    @property
    def particles(self) -> int:
        """How many the tables list together."""
        return sum(len(table.rows) for table in self.tables)

    @classmethod
    def star(cls, path: str) -> Self:
        """Read a STAR file, and find the tables of particles in it; raise `DataError` where there is none."""
        return cls.star_of(path, _read(path))

    @classmethod
    def star_of(cls, path: str, lines: Sequence[str]) -> Self:
        """Do the same with lines that the file has, or would have."""
        blocks = scan(path, lines)
        if any(relion.lists_particles(block.items) for block in blocks):
            raise DataError(f"{path}: lists a particle without a table (loop_), which can take no column; write CSV")
        return cls._of_blocks(path, lines, [block for block in blocks if relion.lists_particles(block.labels)])

    @classmethod
    def cbox(cls, path: str) -> Self:
        """Read boxes of crYOLO, a table of a STAR file."""
        lines = _read(path)
        return cls._of_blocks(path, lines, [block for block in scan(path, lines) if CORNER[0] in block.labels])

    @classmethod
    def _of_blocks(cls, path: str, lines: Sequence[str], blocks: Sequence[StarBlock]) -> Self:
        found = [Listing(block.labels, block.rows) for block in blocks if block.rows]
        if not found:
            raise DataError(f"{path}: lists no particles any more; restore it, or write CSV")
        return cls(path, lines, found)

    @classmethod
    def dynamo(cls, path: str) -> Self:
        """Read a Dynamo table; columns are called "1", "2", ..., as Dynamo counts them."""
        lines = _read(path)
        rows = [number for number, line in enumerate(lines) if spans(line)]
        width = len(spans(lines[rows[0]])) if rows else 0
        return cls(path, lines, [Listing({str(column): column for column in range(1, width + 1)}, rows)])

    @classmethod
    def peet(cls, path: str) -> Self:
        """Read PEET's motive list; columns are called "1", "2", ..., and commas separate."""
        lines = _read(path)
        rows = [number for number, line in enumerate(lines) if line.strip() and not line.lower().startswith("ccc")]
        width = len(_comma_spans(lines[rows[0]])) if rows else 0
        labels = {str(column): column for column in range(1, width + 1)}
        return cls(path, lines, [Listing(labels, rows)], _comma_spans)

    @classmethod
    def pytom(cls, path: str) -> Self:
        """Read PyTom's XML, of which each particle's element is a row; it has no columns."""
        parts = _PARTICLE.split("".join(_read(path)))
        return cls(path, parts, [Listing({}, range(1, len(parts), 2))])

    @classmethod
    def delimited(cls, path: str) -> Self:
        """Read a table with a header (CSV and its kin); columns are called as `read_text_table` calls them."""
        table = locate_rows(path)
        return cls(path, table.lines, [Listing(dict.fromkeys(table.header, 0), table.rows)])

    def particle_of_rows(self) -> list[int] | None:
        """Return the first row of the particle that each row is a tilt image of; None where a row is a particle.

        Rows are those of all tables in order, counted from 0.
        """
        if not all(relion.lists_tilt_images(table.labels) for table in self.tables):
            return None
        first: dict[str, int] = {}
        names = (name for table in self.tables for name in self.cells(table, relion.PARTICLE_NAME))
        return [first.setdefault(name, row) for row, name in enumerate(names)]

    def cells(self, table: Listing, label: str) -> Iterator[str]:
        """Yield the values of a column of one of the tables, as they are written."""
        place = [*table.labels].index(label)
        for number in table.rows:
            found = spans(self.lines[number])
            yield self.lines[number][slice(*found[place])] if place < len(found) else ""

    def take(self, kept: Sequence[bool]) -> Self:
        """Return the file with some of its particles: a flag for each, of all tables in order."""
        flags = iter(kept)
        tables = [Listing(table.labels, [row for row in table.rows if next(flags)]) for table in self.tables]
        gone = {row for table in self.tables for row in table.rows} - {row for table in tables for row in table.rows}
        lines = ["" if number in gone else line for number, line in enumerate(self.lines)]
        return self._replace(lines=lines, tables=tables)

    def with_rows(self, rows: Sequence[str]) -> Self:
        """Return the file with rows, a text each without its end, below the last row of the last table."""
        table = self.tables[-1]
        place = table.rows[-1] + 1
        lines = added(self.lines, place, rows)
        more = Listing(table.labels, [*table.rows, *range(place, place + len(rows))])
        return self._replace(lines=lines, tables=[*self.tables[:-1], more])

    @property
    def text(self) -> str:
        """The whole file."""
        return "".join(self.lines)

    def rename(self, old: str, new: str, unless: Collection[str]) -> Self:
        """Return the file with another name for a column, in all tables that have it and none of those ``unless``."""
        lines, tables = list(self.lines), []
        for table in self.tables:
            labels = table.labels
            if old in labels and not labels.keys() & set(unless):
                lines[labels[old]] = lines[labels[old]].replace(f"_{old}", f"_{new}", 1)
                labels = {new if label == old else label: line for label, line in labels.items()}
            tables.append(Listing(labels, table.rows))
        return self._replace(lines=lines, tables=tables)

    def with_columns(self, values: Mapping[str, Sequence[str]]) -> str:
        """Return the text with columns set: those that are there in their place, others after the last one.

        Each holds one value per row of all tables, as text, which is quoted where it must be. Raises `DataError` where
        a row has more or fewer values than there are columns.
        """
        lines, begin = list(self.lines), 0
        for table in self.tables:
            end = begin + len(table.rows)
            self._set(lines, table, {label: column[begin:end] for label, column in values.items()})
            begin = end
        return "".join(lines)

    def _set(self, lines: list[str], table: Listing, values: Mapping[str, Sequence[str]]) -> None:
        old = {label: place for place, label in enumerate(table.labels) if label in values}
        new = [label for label in values if label not in table.labels]
        if new:
            last = list(table.labels.values())[-1]
            named = (f"_{label} #{count}" for count, label in enumerate(new, len(table.labels) + 1))
            lines[last] += "".join(f"{text}{_end(lines[last])}" for text in named)
        if not old and self.spans is spans and is_plain("".join(lines[number] for number in table.rows)):
            self._append(lines, table, [values[label] for label in new])
            return
        for row, number in enumerate(table.rows):
            found = self.spans(lines[number])
            self._check_width(number, len(found), table)
            changed = {found[place]: quoted(values[label][row]) for label, place in old.items()}
            lines[number] = _edit(lines[number], changed, found[-1][1], [quoted(values[label][row]) for label in new])

    def _append(self, lines: list[str], table: Listing, columns: Sequence[Sequence[str]]) -> None:
        """Add values to rows that blanks alone divide, of which a list may have millions."""
        written = {value: quoted(value) for value in set(chain.from_iterable(columns))}
        for number, values in zip(table.rows, zip(*columns, strict=True), strict=True):
            line = lines[number]
            self._check_width(number, len(line.split()), table)
            place = len(line.rstrip(BLANKS))
            lines[number] = f"{line[:place]} {' '.join([written[value] for value in values])}{line[place:]}"

    def _check_width(self, number: int, width: int, table: Listing) -> None:
        if width != len(table.labels):
            raise DataError(
                f"{self.path}: line {number + 1} has {width} values for {len(table.labels)} columns; mend it"
            )


def _read(path: str) -> list[str]:
    try:
        with Path(path).open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return list(stream)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}), but its columns are to be kept; put it back, or write CSV"
        ) from error


def _comma_spans(line: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"[^,\r\n]+", line)]


def added(lines: Sequence[str], place: int, rows: Sequence[str]) -> list[str]:
    """Return lines with others before the one at ``place``, which end as the line before them does."""
    end = _end(lines[place - 1]) or "\n"
    above = [*lines[: place - 1], lines[place - 1].rstrip("\r\n") + end]
    return [*above, *(f"{row}{end}" for row in rows), *lines[place:]]


def _end(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]


def _edit(line: str, changed: Mapping[tuple[int, int], str], place: int, added: Sequence[str]) -> str:
    """Return a row with other values at some places, and more of them after the last one, which ends at ``place``."""
    line = line[:place] + "".join(f" {value}" for value in added) + line[place:]
    for (start, stop), value in sorted(changed.items(), reverse=True):
        line = line[:start] + value + line[stop:]
    return line
