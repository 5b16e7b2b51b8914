"""Lists of particles as text, to which columns are added while all else stays as it was, character by character."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from cryoreg.datasets.io.star_blocks import scan
from cryoreg.datasets.io.star_text import quoted, spans
from cryoreg.errors import DataError

_PARTICLES = {"rlnImageName", "rlnCoordinateX", "rlnCenteredCoordinateXAngst"}
"""A table with one of these lists particles, as for `cryoreg.datasets.io.star_files.read_star`."""


class ParticleText(NamedTuple):
    """A file, and where in it particles are listed."""

    path: str
    lines: Sequence[str]
    """Each with its end of line."""
    labels: Mapping[str, int]
    """Column -> the line that names it, in order; in a Dynamo table, which names none, the number of the column."""
    rows: Sequence[int]
    """The line of each particle."""

    @classmethod
    def star(cls, path: str) -> Self:
        """Read a STAR file, and find the table of particles in it; raise `DataError` where there is none."""
        lines = _read(path)
        loops = [block for block in scan(path, lines) if block.rows and _PARTICLES & block.labels.keys()]
        loops.sort(key=lambda loop: loop.name != "particles")
        if not loops:
            raise DataError(f"{path}: lists no particles any more; restore it, or write CSV")
        return cls(path, lines, loops[0].labels, loops[0].rows)

    @classmethod
    def dynamo(cls, path: str) -> Self:
        """Read a Dynamo table; columns are called "1", "2", ..., as Dynamo counts them."""
        lines = _read(path)
        rows = [number for number, line in enumerate(lines) if spans(line)]
        width = len(spans(lines[rows[0]])) if rows else 0
        return cls(path, lines, {str(column): column for column in range(1, width + 1)}, rows)

    def rename(self, old: str, new: str) -> Self:
        """Return the file with another name for a column."""
        number = self.labels[old]
        lines = list(self.lines)
        lines[number] = lines[number].replace(f"_{old}", f"_{new}", 1)
        labels = {new if label == old else label: line for label, line in self.labels.items()}
        return self._replace(lines=lines, labels=labels)

    def with_columns(self, values: Mapping[str, Sequence[str]]) -> str:
        """Return the text with columns set: those that are there in their place, others after the last one.

        Each holds one value per row, as text, which is quoted where it must be. Raises `DataError` where a row has more
        or fewer values than there are columns.
        """
        lines = list(self.lines)
        old = {label: place for place, label in enumerate(self.labels) if label in values}
        new = [label for label in values if label not in self.labels]
        if new:
            last = list(self.labels.values())[-1]
            named = (f"_{label} #{count}" for count, label in enumerate(new, len(self.labels) + 1))
            lines[last] += "".join(f"{text}{_end(lines[last])}" for text in named)
        for row, number in enumerate(self.rows):
            found = spans(lines[number])
            if len(found) != len(self.labels):
                raise DataError(
                    f"{self.path}: line {number + 1} has {len(found)} values for {len(self.labels)} columns; mend it"
                )
            changed = {found[place]: quoted(values[label][row]) for label, place in old.items()}
            lines[number] = _edit(lines[number], changed, found[-1][1], [quoted(values[label][row]) for label in new])
        return "".join(lines)


def _read(path: str) -> list[str]:
    try:
        with Path(path).open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return list(stream)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}), but its columns are to be kept; put it back, or write CSV"
        ) from error


def _end(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]


def _edit(line: str, changed: Mapping[tuple[int, int], str], place: int, added: Sequence[str]) -> str:
    """Return a row with other values at some places, and more of them after the last one, which ends at ``place``."""
    line = line[:place] + "".join(f" {value}" for value in added) + line[place:]
    for (start, stop), value in sorted(changed.items(), reverse=True):
        line = line[:start] + value + line[stop:]
    return line
