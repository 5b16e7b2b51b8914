"""Labels from a list: which subtomogram is of which class, as a person, a report or `cryoreg cluster` wrote it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cryoreg.contracts import Sample, SubtomogramDataset, Subtomograms
from cryoreg.datasets.class_names import alike_note
from cryoreg.datasets.io import relion, relion_tables
from cryoreg.datasets.io.class_columns import class_labels
from cryoreg.datasets.io.columns import natural_order, texts
from cryoreg.datasets.io.text_files import read_text_lines
from cryoreg.datasets.io.text_tables import read_text_table
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.origins import image_name, known_origins
from cryoreg.datasets.rows_of_lists import LABELS, RowsTold, check_rows, goes_by_rows
from cryoreg.datasets.tilt_stacks.files import particles_of
from cryoreg.datasets.unlabelled import unlabelled_note
from cryoreg.files import readable
from cryoreg.wrapped import Wrapped

if TYPE_CHECKING:
    import pandas as pd

LIST_ROWS = "list_rows"
"""Column of a table of subtomograms: a digest of the rows of each one's list, as they were."""
ID, WHEN, FILE = "id", "when", "file"
"""Of a table that says when each label was given, as the labelling page adds to it, the last row of an id counts."""
NAMED, NOT_NAMED = "class", "no class"
"""Sources of the rows of such a table that are of no id: there is a class of that name, or is none any more."""
ROWS_OF = "rows of"
"""Source of a row of no id, too: ids go by the rows of the list that stands for a class."""
ROWS = "rows"
"""And of one behind it, in which a digest of these rows stands for a class."""
CLASSES = ("label", "class", "class_name", "cluster")
"""Columns of a text table that hold classes; a prediction is none unless one says so."""
STAR_CLASSES = (relion.CLASS_NAME, relion.CLASS_NUMBER)
_TABLES, _IDS, _STAR = (".csv", ".tsv"), (".txt",), (".star",)


class ListedLabels(NamedTuple):
    """What a list says."""

    ids: list[str]
    """Of rows that name a class, as the list has them."""
    classes: list[str]
    """The class of each."""
    unnamed: int
    """How many further rows name no class."""
    told: RowsTold = RowsTold()
    """Of which lists ids are rows."""


class Labelled(Wrapped):
    """A data set with other labels than its own."""

    def __init__(
        self, dataset: SubtomogramDataset, classes: Sequence[str], labels: Sequence[int | None], notes: Sequence[str]
    ) -> None:
        """Take a data set, and the class of each of its subtomograms."""
        super().__init__(dataset)
        own = (*unlabelled_note(dataset), *alike_note(dataset.classes))
        self.notes = [*(note for note in self.notes if note not in own), *notes, *alike_note(classes)]
        self.classes, self.labels = classes, labels

    def __getitem__(self, index: int) -> Sample:
        """Read one subtomogram."""
        return replace(self.dataset[index], label=self.labels[index])


def with_labels(dataset: Subtomograms, path: Path, column: str | None = None) -> Subtomograms:
    """Return a data set with the labels of a list and no others; its notes count what the list says beyond that.

    The list is a table (.csv, .tsv) with the columns id and label (or class, cluster, or ``column``), a STAR file that
    names images and classes, or a folder of lists of ids (.csv, .tsv, .txt, .star), one for each class, of whose name
    it is. Ids are those of the data set. Raises `DataError`, one line, where none of them is known, or where a
    subtomogram is of two classes.
    """
    listed = _of_folder(path) if path.is_dir() else _of_file(path, column)
    index = _index(dataset, path)
    found: dict[int, str] = {}
    unknown = []
    for name, class_name in zip(listed.ids, listed.classes, strict=True):
        place = index.get(name)
        if place is None:
            unknown.append(name)
        elif found.setdefault(place, class_name) != class_name:
            refuse(path, f"says that '{name}' is of class '{found[place]}' and of class '{class_name}'; remove one")
    if goes_by_rows(dataset):
        check_rows(dataset, path, listed.ids, listed.told, LABELS)
    doubles = len(listed.ids) - len(unknown) - len(found)
    if not found:
        theirs = f"its first is '{unknown[0]}'" if unknown else "it has none"
        refuse(path, f"names no class of an id of the data set ({theirs}, the data's is '{readable(dataset.ids[0])}')")
    classes = sorted(set(found.values()), key=natural_order)
    number = {name: label for label, name in enumerate(classes)}
    labels = [number[found[place]] if place in found else None for place in range(len(dataset))]
    return Labelled(dataset, classes, labels, _notes(dataset, path, found, unknown, doubles, listed.unnamed))


def _notes(
    dataset: Subtomograms, path: Path, found: dict[int, str], unknown: list[str], doubles: int, unnamed: int
) -> list[str]:
    instead = ", instead of the data's own" if any(label is not None for label in dataset.labels) else ""
    lines = [f"{len(found)} of {len(dataset)} subtomograms have a label of {path.name}{instead}"]
    if unknown:
        lines.append(f"{path.name}: {len(unknown)} of its ids are not in the data set (the first: '{unknown[0]}')")
    if doubles:
        lines.append(f"{path.name}: {doubles} of its rows repeat what another one says")
    if unnamed:
        lines.append(f"{path.name}: {unnamed} of its rows name no class")
    return lines


def _index(dataset: Subtomograms, path: Path) -> dict[str, int]:
    """Return the place of each id, or, where the STAR file names others, of each image that cryoreg names so."""
    index = {readable(name): place for place, name in enumerate(dataset.ids)}
    origins = known_origins(dataset) or []
    images = {image_name(origin): place for place, origin in enumerate(origins)}
    return images | index if len(images) == len(index) else index


def _of_folder(folder: Path) -> ListedLabels:
    files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    others = [file.name for file in files if file.suffix.lower() not in (*_TABLES, *_IDS, *_STAR)]
    if others or not files:
        what = f"holds {others[0]}" if others else "is empty"
        refuse(folder, f"{what}; a folder of labels has a list of ids (.csv, .txt or .star) for each class, named so")
    named = [(name, file.stem) for file in files for name in _ids(file)]
    return ListedLabels([name for name, _ in named], [class_name for _, class_name in named], 0)


def _ids(file: Path) -> list[str]:
    if file.suffix.lower() in _IDS:
        return [line.strip() for line in read_text_lines(file, "a list of ids") if line.strip()]
    return _ids_of(file, _star(file) if file.suffix.lower() in _STAR else _table(file))


def _of_file(path: Path, column: str | None) -> ListedLabels:
    suffix = path.suffix.lower()
    if suffix in _IDS:
        refuse(path, "is a list of ids without classes; put it into a folder with one such file for each class")
    table = _star(path) if suffix in _STAR else _table(path)
    ids = _ids_of(path, table)
    classes, labels = class_labels(path, table, column or _class_column(path, table))
    rows = [row for row, label in enumerate(labels) if label is not None]
    names = [classes[label] for label in labels if label is not None]
    return ListedLabels([ids[row] for row in rows], names, len(ids) - len(rows), rows_told(path))


def _table(path: Path) -> pd.DataFrame:
    table = read_text_table(os.fspath(path))
    if ID not in table:
        listed = ", ".join(map(str, table.columns))
        refuse(path, f"has no column 'id' (it has: {listed}); add the ids that `cryoreg predict` or a report writes")
    if WHEN not in table:
        return table
    if "source" in table:
        table = table[table[ID].notna() | ~table["source"].isin((NAMED, NOT_NAMED, ROWS_OF, ROWS))]
    return table.drop_duplicates(ID, keep="last")


def rows_told(path: Path) -> RowsTold:
    """Return the lists by whose rows a table's ids go, as far as it says so."""
    table = read_text_table(os.fspath(path)) if path.suffix.lower() in _TABLES else {}
    if FILE in table:
        return rows_in(table, FILE, LIST_ROWS if LIST_ROWS in table else None)
    if not {"source", WHEN, "class"} <= {*table}:
        return RowsTold()
    lists = dict[str, str]()
    for name, source in zip(texts(table, "class"), texts(table, "source"), strict=True):
        note_rows(lists, name or "", source or "")
    return RowsTold.of(lists.items())


def rows_in(table: pd.DataFrame, files: str, rows: str | None) -> RowsTold:
    """Return what the columns of a table say of the lists that its rows are of."""
    return RowsTold.of(zip(texts(table, files), texts(table, rows), strict=True))


def note_rows(lists: dict[str, str], name: str, source: str) -> None:
    """Take in a row, of no id, of a table to which labels are added: the last list counts, with its last digest."""
    if source == ROWS_OF:
        lists[name] = lists.pop(name, "")
    elif source == ROWS and lists:
        lists[next(reversed(lists))] = name


def _star(path: Path) -> pd.DataFrame:
    path = particles_of(path)
    table = relion_tables.read_particles(path)
    if relion.lists_tilt_images(table):
        return table.drop_duplicates(relion.PARTICLE_NAME).rename(columns={relion.PARTICLE_NAME: ID})
    if relion.IMAGE not in table:
        refuse(
            path,
            "names no images by which its particles could be found; give it as the data set itself, with --data and "
            f"--set dataset.label={relion.CLASS_NUMBER}, or give CSV with ids",
        )
    return table.rename(columns={relion.IMAGE: ID})


def _ids_of(path: Path, table: pd.DataFrame) -> list[str]:
    ids = texts(table, ID)
    empty = [row for row, name in enumerate(ids) if not name]
    if empty:
        refuse(path, f"has no id in row {empty[0]}; mend the row")
    return [str(name) for name in ids]


def _class_column(path: Path, table: pd.DataFrame) -> str:
    """Return the column of classes; raise `DataError` where there is none, or where two say different things."""
    candidates = STAR_CLASSES[:1] if STAR_CLASSES[0] in table else (*CLASSES, *STAR_CLASSES[1:])
    filled = [name for name in candidates if name in table and class_labels(path, table, name)[0]]
    if not filled:
        listed = ", ".join(map(str, table.columns))
        refuse(
            path,
            f"names no classes in a column {', '.join(CLASSES)} (it has: {listed}); say --set input.label=<column>",
        )
    first, *others = filled
    for other in others:
        if texts(table, other) != texts(table, first):
            refuse(path, f"names classes in '{first}' and others in '{other}'; say which: --set input.label={other}")
    return first
