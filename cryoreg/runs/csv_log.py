"""A log of a run as a CSV file: it grows row by row, gets new columns when there are some, and outlasts a kill."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryoreg.errors import RunFolderError
from cryoreg.files import require_file, write_text


class CsvLog:
    """A CSV file that grows by rows; a row has an empty cell for each column that it does not know."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows below the header; columns that are new stand last, and earlier rows have none of them."""
        try:
            old = self._header()
            columns = _union([old, *rows])
            if columns != old:
                self._rewrite(columns)
            with self.path.open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, columns, restval="").writerows(rows)
        except OSError as error:
            raise RunFolderError(f"cannot write {self.path}: {error.strerror}") from error

    def read(self) -> list[dict[str, str]]:
        """Return all complete rows; a last line that a kill cut off is left out.

        Raises `RunFolderError` where the file is damaged, or a row has more or fewer cells than the header.
        """
        require_file(self.path, RunFolderError)
        if not self.path.exists():
            return []
        try:
            table = list(csv.reader(io.StringIO(self._complete(), newline="")))
        except (OSError, ValueError, csv.Error):
            raise self._damaged() from None
        if any(len(cells) != len(table[0]) for cells in table):
            raise self._damaged()
        return [dict(zip(table[0], cells, strict=True)) for cells in table[1:]]

    def keep(self, column: str, below: int) -> None:
        """Drop the rows whose integer ``column`` is ``below`` or more; raises as `read` does."""
        try:
            rows = [row for row in self.read() if int(row[column]) < below]
        except (ValueError, KeyError):
            raise self._damaged() from None
        if rows:
            write_text(self.path, _to_csv(list(rows[0]), rows))
        else:
            self.path.unlink(missing_ok=True)

    def _header(self) -> list[str]:
        if not self.path.exists():
            return []
        with self.path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file), [])

    def _rewrite(self, columns: Sequence[str]) -> None:
        write_text(self.path, _to_csv(columns, self.read()))

    def _complete(self) -> str:
        content = self.path.read_bytes()
        return content[: content.rfind(b"\n") + 1].decode()

    def _damaged(self) -> RunFolderError:
        return RunFolderError(f"{self.path} is damaged; it is but a log: move it away and repeat the command")


def _union(tables: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for each in tables for name in each))


def _to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()
