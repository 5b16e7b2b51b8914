"""Labels in a file to which every action is appended at once, by whoever labels: nothing said is ever lost."""

from __future__ import annotations

import csv
import fcntl
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import compress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from cryoreg.errors import DataError, OutputError
from cryoreg.files import cell, sync_folder, text_of_cell

COLUMNS = ("id", "class", "when", "source")
"""``when`` is in UTC; ``source`` is how the label came about. An empty class takes a label back."""


class Change(NamedTuple):
    """What somebody says of a subtomogram."""

    id: str
    name: str
    """The class; empty: none any more."""
    was: str | None = None
    """The class that it had for who says so, empty for none; None: whatever it was."""


class LabelFile:
    """A file of labels, and what it says by now.

    Rows are only ever added, under a lock, and are on disk when `append` returns. What others add is seen. A row that
    was cut short by a power failure, and so was never answered, is removed.
    """

    def __init__(self, path: Path) -> None:
        """Take the file, which may be there already; raise a `CryoregError` where it holds something else."""
        self.path = path
        self.labels: dict[str, str] = {}
        """Id -> class."""
        self.history: list[str] = []
        """The ids of all rows, in order: how far somebody has read is a place in it."""
        self._read = 0
        if path.exists():
            self.refresh()

    def refresh(self) -> None:
        """Take in what others have added."""
        if self.path.exists():
            with self._locked() as file:
                self._catch_up(file)

    def append(self, changes: Sequence[Change], source: str) -> list[Change]:
        """Add what is said, all under one time; return the changes that others were faster to make otherwise.

        Those are not made: whoever asked for them knew an older label.
        """
        with self._locked() as file:
            self._catch_up(file)
            free = [each.was in (None, self.labels.get(each.id, "")) for each in changes]
            made = list(compress(changes, free))
            refused = list(compress(changes, (not each for each in free)))
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            text = _text([] if self._read else [COLUMNS]) + _text(
                (cell(each.id), cell(each.name), now, source) for each in made
            )
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
            self._catch_up(file)
        return refused

    def _locked(self) -> _Locked:
        return _Locked(self.path)

    def _catch_up(self, file: BinaryIO) -> None:
        """Read the rows that are new; remove one that was cut short."""
        if os.fstat(file.fileno()).st_size < self._read:
            raise OutputError(f"{self.path}: has become shorter while labels were added; restore it")
        file.seek(self._read)
        new = file.read()
        if not self._read:
            self._check_header(new)
        whole = new[: new.rfind(b"\n") + 1]
        if whole != new:
            whole = _mended(whole, new[len(whole) :])
            file.seek(self._read + len(whole))
            file.truncate()
            file.seek(self._read)
            file.write(whole)
        rows = whole if self._read else whole.partition(b"\n")[2]
        self.labels, changed = _absorb(self.labels, _rows(rows))
        self.history += changed
        self._read += len(whole)
        file.seek(0, os.SEEK_END)

    def _check_header(self, data: bytes) -> None:
        """Raise `DataError` where the file begins with another header; of ours, a part may be there."""
        header, end, _ = data.partition(b"\n")
        found, ours = header.decode(errors="replace").strip(), ",".join(COLUMNS)
        if not (found == ours or (not end and ours.startswith(found))):
            raise DataError(
                f"{self.path}: has other columns than {', '.join(COLUMNS)}; say --output another file, and "
                "--labels-from this one where it has labels to begin with"
            )


def _mended(whole: bytes, rest: bytes) -> bytes:
    """Return whole rows: with the last one, where only its line's end is missing."""
    values = next(csv.reader([rest.decode(errors="replace")]), [])
    return whole + rest + b"\n" if len(values) == len(COLUMNS) else whole


class _Locked:
    """A file open for reading and adding, for one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> BinaryIO:
        new = not self.path.exists()
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror}); choose another name") from error
        self.file = os.fdopen(descriptor, "r+b")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if new:
            sync_folder(self.path.absolute().parent)
        return self.file

    def __exit__(self, *_: object) -> None:
        self.file.close()


def _rows(data: bytes) -> Iterator[Mapping[str, str]]:
    for values in csv.reader(io.StringIO(data.decode(), newline="")):
        yield dict(zip(COLUMNS, map(text_of_cell, values), strict=False))


def _absorb(labels: Mapping[str, str], rows: Iterable[Mapping[str, str]]) -> tuple[dict[str, str], list[str]]:
    """Return the labels after some rows, and the ids of these."""
    after, changed = dict(labels), list[str]()
    for row in rows:
        name, one = row.get("class", ""), row.get("id", "")
        if not one:
            continue
        changed.append(one)
        if name:
            after[one] = name
        else:
            after.pop(one, None)
    return after, changed


def _text(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
