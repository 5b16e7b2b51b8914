"""A data set that people label, and what they have said so far."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cryoreg.contracts import Subtomograms
from cryoreg.datasets.io.columns import natural_order
from cryoreg.datasets.rows_of_lists import LABELS, RowsTold, check_rows, goes_by_rows, lists_of, rows_of
from cryoreg.datasets.unlabelled import names_no_class
from cryoreg.errors import DataError
from cryoreg.files import readable
from cryoreg.labelling.classifier import unit_length
from cryoreg.labelling.label_file import RENAME, UNDO, Change, LabelFile
from cryoreg.labelling.pictures import Pictures
from cryoreg.labelling.teaching import Teacher
from cryoreg.labelling.whereabouts import Whereabouts, whereabouts_of

JUNK = "junk"
"""The class of what is no particle."""
SOURCES = ("one by one", "several at once", "suggestion", RENAME, UNDO)
"""How a label may have come about."""
_UNDONE = 100
"""Actions that can be taken back after a page was opened anew."""
LONGEST = 60
"""Characters of a class's name."""
PROPER = "take up to 60 letters, without blanks at the ends, and no word that stands for no class, as none and NA do"
"""What can be a class."""


class Row(NamedTuple):
    """What somebody says of a subtomogram, by its index."""

    row: int
    name: str
    was: str


class Session:
    """The labels of a data set. Each change is on disk when `label` returns; whoever else labels is seen."""

    def __init__(
        self, dataset: Subtomograms, path: Path, title: str, classes: Sequence[str] = (), who: str = ""
    ) -> None:
        """Take a data set and the file of its labels; ``classes`` are names to begin with, ``who`` is who labels.

        Raises `DataError` where the file has labels of other data alone.
        """
        self.dataset, self.title = dataset, title
        self.ids = [str(readable(name)) for name in dataset.ids]
        self._rows = {name: row for row, name in enumerate(self.ids)}
        self._lock = threading.Lock()
        self.file = LabelFile(path, who)
        if self.file.labels and not self._rows.keys() & self.file.labels.keys():
            first = next(iter(self.file.labels))
            raise DataError(f"{path}: has labels of other data (the first is of '{first}'); say --output another file")
        self._lists: dict[str | None, tuple[str, str | None]] = {}
        """Tomogram -> the list by whose rows its ids go, and what these are: `rows_of`."""
        if goes_by_rows(dataset):
            check_rows(dataset, path, self.file.labels, RowsTold.of(self.file.lists.items()), LABELS)
            for own, tomograms in lists_of(dataset).items():
                self._lists |= dict.fromkeys(tomograms, (os.path.abspath(own), dataset.lists.get(own) or rows_of(own)))
        self.first_classes = list(classes)
        self.said: Mapping[int, str] = said_by(dataset)
        """Row -> the class that the data, or a file of clusters, say; shown, and no label."""
        self.grouped = False
        """Whether a file of clusters says so, by which particles are arranged at first."""
        self.pictures = Pictures(dataset)
        self.whereabouts: Whereabouts | None = whereabouts_of(dataset)
        self.teacher: Teacher | None = None

    def labels(self) -> dict[int, str]:
        """Return row -> class, in the order in which they were given."""
        with self._lock:
            return {self._rows[one]: name for one, name in self.file.labels.items() if one in self._rows}

    def classes(self) -> list[str]:
        """Return all classes: those to begin with, and others in the order in which they came: their keys stay."""
        return known_classes(self.file, dict.fromkeys(self.labels().values()), self.first_classes)

    def gone(self) -> dict[str, str]:
        """Return which names are none of the classes any more, and what is there instead; empty for nothing."""
        there = set(self.classes())
        return {name: self.file.now(name) for name in self.file.replaced if name not in there}

    def name_class(self, name: str, instead_of: str = "") -> None:
        """Keep that there is a class; see `LabelFile.name_class`. One that is there already takes no other's place."""
        there = instead_of and name in self.classes()
        with self._lock:
            if there:
                self.file.name_class(name)
            self.file.name_class("" if there else name, instead_of)

    def numbered(self) -> list[str]:
        """Return the classes in the order of their numbers in lists: that of their keys, junk last."""
        return by_number(self.classes())

    def label(self, rows: Sequence[Row], source: str) -> dict[int, str]:
        """Add labels; return those that others have changed meanwhile, row -> class, which are left as they are."""
        changes = [Change(self.ids[each.row], each.name, each.was) for each in rows]
        with self._lock:
            if self._lists:
                for list_ in dict.fromkeys(self._lists[self.dataset.groups[each.row]] for each in rows):
                    self.file.go_by(*list_)
            refused = self.file.append(changes, source)
            now = {self._rows[each.id]: self.file.labels.get(each.id, "") for each in refused}
        if self.teacher is not None and len(refused) < len(rows):
            self.teacher.labels_changed()
        return now

    def past(self) -> list[list[Row]]:
        """Return the last actions that whoever labels may take back, as a page that is opened goes on with them."""
        with self._lock:
            self.file.refresh()
            past = self.file.past()[-_UNDONE:]
        rows = [
            [Row(self._rows[one], name, was or "") for one, name, was in each if one in self._rows] for each in past
        ]
        return [each for each in rows if each]

    def changes(self, since: int) -> tuple[int, dict[int, str]]:
        """Return how many changes there were, and row -> class, "" for none, of those after the first ``since``."""
        with self._lock:
            before = len(self.file.history)
            self.file.refresh()
            history, labels = self.file.history, self.file.labels
            found = {self._rows[one]: labels.get(one, "") for one in history[max(0, since) :] if one in self._rows}
        if self.teacher is not None and len(history) > before:
            self.teacher.labels_changed()
        return len(history), found

    def similar(self, rows: Sequence[int], count: int) -> list[int]:
        """Return the rows whose features are nearest by cosine to the mean of some, each of length 1."""
        features = None if self.teacher is None else self.teacher.features
        if features is None:
            return []
        scaled = unit_length(features)
        order: list[int] = np.argsort(-(scaled @ scaled[rows].mean(axis=0)), kind="stable")[:count].tolist()
        return order


def known_classes(file: LabelFile, used: Collection[str], first: Iterable[str]) -> list[str]:
    """Return classes in order: those to begin with, by what they are called now, then those typed or ``used``."""
    begun = [name for each in first if (name := file.now(each))]
    kept = [name for name in file.classes if name in used or name in file.named]
    return list(dict.fromkeys([*begun, *kept, *used]))


def by_number(classes: Iterable[str]) -> list[str]:
    """Return classes with junk as the last."""
    return sorted(classes, key=lambda name: name == JUNK)


def said_by(dataset: Subtomograms) -> dict[int, str]:
    """Return row -> the name of the class that the data say."""
    return {row: dataset.classes[label] for row, label in enumerate(dataset.labels) if label is not None}


def is_name(name: object) -> bool:
    """Tell whether a text can be a name: of somebody, or of a class."""
    return isinstance(name, str) and 0 < len(name.strip()) == len(name) <= LONGEST and name.isprintable()


def is_class(name: object) -> bool:
    """Tell whether a class may be called so: a name that does not stand for no class in lists, as none and NA do."""
    return is_name(name) and not names_no_class(str(name))


def coded(values: Sequence[str | None]) -> Mapping[str, object]:
    """Return names, and for each value which one it is; -1 for None."""
    names = sorted({value for value in values if value is not None}, key=natural_order)
    numbers = {name: number for number, name in enumerate(names)}
    return {"names": names, "codes": [-1 if value is None else numbers[value] for value in values]}
