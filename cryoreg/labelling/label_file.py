"""Labels in a file to which every action is appended at once, by whoever labels: nothing said is ever lost."""

from __future__ import annotations

import csv
import fcntl
import getpass
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import compress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from cryoreg.datasets.label_lists import NAMED, NOT_NAMED, ROWS, ROWS_OF, note_rows
from cryoreg.errors import DataError, OutputError
from cryoreg.files import cell, sync_folder, text_of_cell

COLUMNS = ("id", "class", "who", "when", "source")
"""``who`` said so, and ``when`` (UTC); ``source`` is how the label came about. An empty class takes a label back."""
UNDO, RENAME = "undo", "rename"
"""The sources of what takes an action back, and of what gives a class another name."""


class Change(NamedTuple):
    """What somebody says of a subtomogram."""

    id: str
    name: str
    """The class; empty: none any more."""
    was: str | None = None
    """The class that it had for who says so, empty for none; None: whatever it was."""


class Action(NamedTuple):
    """What somebody did at once: the rows under one time."""

    who: str
    when: str
    source: str
    changes: list[Change]


class LabelFile:
    """A file of labels, and what it says by now.

    Rows are only ever added, under a lock, and are on disk when `append` returns. What others add is seen. A row that
    was cut short by a power failure, and so was never answered, is removed.
    """

    def __init__(self, path: Path, who: str = "") -> None:
        """Take the file, which may be there already; raise a `CryoregError` where it holds something else.

        ``who`` labels; the user of this process where nobody is named.
        """
        self.path, self.who = path, who or user()
        self.labels: dict[str, str] = {}
        """Id -> class."""
        self.history: list[str] = []
        """The ids of all rows, in order: how far somebody has read is a place in it."""
        self.actions: list[Action] = []
        self.classes: list[str] = []
        """In the order in which they first came; one that was renamed has the place of the old."""
        self.named: set[str] = set()
        """Those that somebody typed, and that stay where nothing has them."""
        self.replaced: dict[str, str] = {}
        """Names that were taken out, and what was typed instead; empty for nothing."""
        self.lists: dict[str, str] = {}
        """The lists by whose rows ids go, and a digest of these when the last labels of each were given."""
        self._left = ("", "")
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

        Those are not made: whoever asked for them knew an older label. Times tell actions apart. Who takes the renaming
        of a class back, takes its new name back, too.
        """
        with self._locked() as file:
            self._catch_up(file)
            free = [each.was in (None, self.labels.get(each.id, "")) for each in changes]
            made = list(compress(changes, free))
            refused = list(compress(changes, (not each for each in free)))
            names = self._names_back(made) if source == UNDO else []
            self._add(file, [*names, *((each.id, each.name, source) for each in made)])
        return refused

    def _names_back(self, undone: Sequence[Change]) -> list[tuple[str, str, str]]:
        """Return the rows with which a class has its old name again, where an undo is of a renaming.

        The new name goes where it took the old one's place and nothing else has it.
        """
        action = _taken_back(self._standing(), undone) if undone else None
        if action is None or action.source != RENAME:
            return []
        name, was = action.changes[0].name, action.changes[0].was or ""
        others = self.labels.keys() - {each.id for each in undone}
        left = self.replaced.get(was) != name or any(self.labels[one] == name for one in others)
        return [*([] if left else [("", name, NOT_NAMED)]), *([("", was, NAMED)] if was else [])]

    def name_class(self, name: str, instead_of: str = "") -> None:
        """Keep that there is a class, whether anything has it or not; it may take another's place.

        An empty name takes the other one out. No label changes.
        """
        rows = [("", instead_of, NOT_NAMED), ("", name, NAMED)]
        with self._locked() as file:
            self._catch_up(file)
            self._add(file, [row for row in rows if row[1]])

    def go_by(self, list_: str, rows: str | None = None) -> None:
        """Keep that ids go by the rows of a list, in which they mean other particles than in another.

        ``rows`` is a digest of them, by which the list is known from what is called so later.
        """
        with self._locked() as file:
            self._catch_up(file)
            if list_ not in self.lists or (rows and rows != self.lists[list_]):
                self._add(file, [("", list_, ROWS_OF), *([("", rows, ROWS)] if rows else [])])

    def _add(self, file: BinaryIO, rows: Iterable[tuple[str, str, str]]) -> None:
        """Add rows of id, class and source, and take them in when they are on disk."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        said = [(cell(one), cell(name), cell(self.who), now, source) for one, name, source in rows]
        file.write(_text([*([] if self._read else [COLUMNS]), *said]).encode())
        file.flush()
        os.fsync(file.fileno())
        self._catch_up(file)

    def past(self) -> list[list[Change]]:
        """Return what was done by who labels here, and not taken back: what there is to undo, the last action last."""
        return [action.changes for action in self._standing()]

    def _standing(self) -> list[Action]:
        """Return the actions of who labels here that were not taken back."""
        found: list[Action] = []
        for action in self.actions:
            if action.who != self.who:
                continue
            if action.source != UNDO:
                found.append(action)
            elif (undone := _taken_back(found, action.changes)) is not None:
                found.remove(undone)
        return found

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
        self._absorb(_rows(rows))
        self._read += len(whole)
        file.seek(0, os.SEEK_END)

    def _absorb(self, rows: Iterable[Mapping[str, str]]) -> None:
        """Take in rows: the labels after them, their ids, and whose actions they are."""
        for row in rows:
            one, name = row.get("id", ""), row.get("class", "")
            if not one:
                self._declare(name, row.get("when", ""), row.get("source", ""))
                continue
            self.history.append(one)
            by = (row.get("who", ""), row.get("when", ""), row.get("source", ""))
            if not self.actions or self.actions[-1][:3] != by:
                self.actions.append(Action(*by, []))
            was = self.labels.pop(one, "") if not name else self.labels.get(one, "")
            self.actions[-1].changes.append(Change(one, name, was))
            if name:
                self.labels[one] = name
                self.replaced.pop(name, None)
                self._name(name, was if self.actions[-1].source == RENAME else "")

    def _declare(self, name: str, when: str, source: str) -> None:
        """Take in that there is a class, or is none any more; what comes at one time takes the other's place."""
        note_rows(self.lists, name, source)
        if source == NOT_NAMED:
            self.named.discard(name)
            self.replaced[name], self._left = "", (when, name)
        elif source == NAMED and name:
            was = self._left[1] if self._left[0] == when and self._left[1] != name else ""
            self.named.add(name)
            self.replaced.pop(name, None)
            if was:
                self.replaced[was] = name
            self._name(name, was)

    def now(self, name: str) -> str:
        """Return what a class is called by now; empty where it was taken out."""
        while name in self.replaced:
            name = self.replaced[name]
        return name

    def _name(self, name: str, was: str) -> None:
        """Take in the name of a class, which stands for another one by now or for none."""
        if name in self.classes:
            return
        if was in self.classes:
            self.classes[self.classes.index(was)] = name
        else:
            self.classes.append(name)

    def _check_header(self, data: bytes) -> None:
        """Raise `DataError` where the file begins with another header; of ours, a part may be there."""
        header, end, _ = data.partition(b"\n")
        found, ours = header.decode(errors="replace").strip(), ",".join(COLUMNS)
        if not (found == ours or (not end and ours.startswith(found))):
            raise DataError(
                f"{self.path}: has other columns than {', '.join(COLUMNS)}; say --output another file, and "
                "--labels-from this one where it has labels to begin with"
            )


def user() -> str:
    """Return the name of whoever runs this process."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container may know no names
        return f"user {os.getuid()}"


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


def _taken_back(past: Sequence[Action], undo: Sequence[Change]) -> Action | None:
    """Return the last action whose subtomograms an undo is of: somebody at another page may have done more since."""
    ids = {each.id for each in undo}
    return next((each for each in reversed(past) if ids <= {change.id for change in each.changes}), None)


def _text(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
