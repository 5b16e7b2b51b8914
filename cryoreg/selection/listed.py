"""A particle list or a file of predictions: its text, and what each row says that can be chosen by."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.datasets.io import relion, relion_tables
from cryoreg.datasets.io.columns import first_of, numbers, texts, tomogram_names
from cryoreg.datasets.io.text_tables import read_text_table
from cryoreg.datasets.io.volume_files import guarded, refuse, refuse_empty
from cryoreg.datasets.label_lists import FILE, LIST_ROWS, rows_in
from cryoreg.datasets.particles.carried import in_folders
from cryoreg.datasets.particles.dynamo import read_table
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.datasets.particles.motive_lists import is_motive_list, motive_list
from cryoreg.datasets.particles.sniffing import Kind, kind_of_list
from cryoreg.datasets.particles.text_lists import tomogram_column
from cryoreg.datasets.rows_of_lists import RowsTold
from cryoreg.datasets.tilt_stacks.files import particles_of
from cryoreg.datasets.tilt_stacks.image_rows import series_of
from cryoreg.datasets.tomograms.names import stem
from cryoreg.datasets.unlabelled import names_no_class
from cryoreg.errors import ConfigError
from cryoreg.inference.moved_names import notes_on_moved, with_files
from cryoreg.inference.particle_text import ParticleText
from cryoreg.inference.prediction_files import COLUMNS, DOUBTS

_NAMES = ("class_name", "predicted_class_name")
CLASSES = (COLUMNS[1], "prediction", "cluster", relion.CLASS_NUMBER, *_NAMES, "class", "label", "object")
"""Columns that hold the class, the first that is there: what cryoreg says before the list, names before numbers."""
CLASS_NUMBERS = (relion.CLASS_NUMBER, "class_number")
CONFIDENCE = (COLUMNS[2], "confidence")
UNSURE = (COLUMNS[3], "unsure")
FAMILIARITY = (DOUBTS[0], "familiarity")
NONE_OF_THESE = (DOUBTS[1], "none_of_these")
SCORES = (*CONFIDENCE, relion.PICK_SCORE, "score", "cc", "column10")
"""Columns that say which of two particles is the better one; the last is Dynamo's correlation."""
IDS = ("id", relion.IMAGE)
TEXTS = (".csv", ".tsv", ".txt")
SUFFIXES = (".star", ".tbl", *TEXTS, ".xml", ".pt", ".point", ".cbox", ".coords")
_TEXT_OF: Mapping[Kind | None, Callable[[str], ParticleText]] = {
    "emclarity": ParticleText.dynamo,
    "points": ParticleText.dynamo,
    "coords": ParticleText.dynamo,
    "pytom": ParticleText.pytom,
    "cbox": ParticleText.cbox,
}
"""The text of lists whose rows stay as they are."""
Floats = NDArray[np.float64]


def can_be_kept(path: str | Path) -> bool:
    """Tell whether `Listed` reads a file, by its name and its content."""
    return Path(path).suffix.lower() in SUFFIXES and kind_of_list(path) not in (None, "peet")


@dataclass(frozen=True)
class Listed:
    """The particles of a file."""

    path: str
    text: ParticleText
    table: pd.DataFrame
    """A row for each, with what optics groups say of it."""
    tomograms: Sequence[str | None]
    optimisation_set: str | None = None
    """The one that names the list, where it was given."""
    particle_of_rows: Sequence[int] | None = None
    """Where the text has a row for each tilt image, of which particle it is, counted from 0."""

    @classmethod
    def read(cls, path: str) -> Listed:
        """Read a STAR file, a Dynamo table or CSV; of an optimisation set, the list of particles that it names.

        Raises `DataError`, one line, where a file is none of them.
        """
        suffix = Path(path).suffix.lower()
        if suffix not in SUFFIXES:
            refuse(path, f"is no list that can be kept as it is ({', '.join(SUFFIXES)}); check the path")
        kind = kind_of_list(path)
        if kind == "peet":
            refuse(
                path, "goes row by row with the points of its model, and cannot lose some; predict writes classes to it"
            )
        if kind in _TEXT_OF:
            particles = read_particle_list(path)
            return cls(path, _TEXT_OF[kind](path), particles.columns, particles.tomograms)
        with guarded(path, "a particle list"):
            return cls._star(path) if suffix == ".star" else cls._dynamo(path) if suffix == ".tbl" else cls._text(path)

    @classmethod
    def _star(cls, source: str) -> Listed:
        path = os.fspath(particles_of(Path(source)))
        table, text = relion_tables.read_particles(path), ParticleText.star(path)
        if rows := text.particle_of_rows():
            return cls._of_images(path, text, table, rows)
        named = tomogram_names(table, first_of(table, relion.TOMOGRAMS))
        files = texts(table, relion.FILE) if relion.FILE in table else None
        motives = is_motive_list(table)
        tomograms = motive_list(path, table).tomograms if motives else in_folders(path, named, files)
        return cls(path, text, table, tomograms, None if source == path else source)

    @classmethod
    def _of_images(cls, path: str, text: ParticleText, table: pd.DataFrame, rows: Sequence[int]) -> Listed:
        """Take a particle series of Warp 1: what is said of a particle is what its first row says."""
        firsts = list(dict.fromkeys(rows))
        place = {row: number for number, row in enumerate(firsts)}
        particles = table.iloc[firsts].reset_index(drop=True)
        tomograms = [series_of(str(name)) for name in particles[relion.PARTICLE_NAME]]
        return cls(path, text, particles, tomograms, None, [place[row] for row in rows])

    @classmethod
    def _dynamo(cls, path: str) -> Listed:
        particles = read_table(path)
        return cls(path, ParticleText.dynamo(path), particles.columns, particles.tomograms)

    @classmethod
    def _text(cls, path: str) -> Listed:
        table = read_text_table(path)
        if table.empty:
            refuse_empty(path)
        return cls(path, ParticleText.delimited(path), table, tomogram_names(table, tomogram_column(table)))

    def __len__(self) -> int:
        return len(self.table)

    def of_rows(self, particles: NDArray[Any]) -> NDArray[Any]:
        """Return values (N,) of particles as those of the text's rows."""
        return particles if self.particle_of_rows is None else particles[list(self.particle_of_rows)]

    def moved(self, output: Path) -> Listed:
        """Return the list with the tomograms' files that cryoreg named as they are found from ``output``, too."""
        return replace(self, text=with_files(self.text, output)) if Path(self.path).suffix.lower() == ".star" else self

    def notes_on_moved(self, output: Path) -> list[str]:
        """Return `notes_on_moved` of the list, and raise what it raises."""
        return notes_on_moved(self.path, self.table, self.tomograms, output, self.optimisation_set is not None)

    def column(self, names: Sequence[str]) -> str | None:
        """Return the first of some columns that the list has, in upper or lower case."""
        known = {str(name).lower(): str(name) for name in self.table}
        return next((known[name.lower()] for name in names if name.lower() in known), None)

    def figures(self, names: Sequence[str], what: str) -> Floats:
        """Return a column as numbers (N,); raise `ConfigError` where the list has none of them."""
        column = self.column(names)
        if column is None:
            raise ConfigError(f"{self.path}: says nothing of {what} (no column {' or '.join(names)}); predict it first")
        return numbers(self.path, self.table, column)

    def shares(self, names: Sequence[str], what: str) -> Floats:
        """Return a column of numbers from 0 to 1 (N,); raise `DataError` where it has others, such as per cent."""
        values = self.figures(names, what)
        bad = np.flatnonzero((values < 0) | (values > 1))
        if len(bad):
            told = f"{values[bad[0]]:g} for {self.column(names)} in row {bad[0]}"
            refuse(self.path, f"has {told}, and {what} is from 0 to 1; divide per cent by 100")
        return values

    def class_column(self, told: str | None) -> str | None:
        """Return the column that holds the class; raise `ConfigError` where one that is ``told`` is not there."""
        column = self.column([told.removeprefix("_")] if told else CLASSES)
        if told and column is None:
            listed = ", ".join(map(str, self.table))
            raise ConfigError(f"{self.path}: has no column '{told}' (it has: {listed}); check --class-column")
        return column

    def classes(self, told: str | None) -> list[str | None]:
        """Return the name of the class of each, None where it has none."""
        named = [_whole(name) for name in texts(self.table, self.class_column(told))]
        return [None if name is None or names_no_class(name) else name for name in named]

    def class_numbers(self) -> list[str | None]:
        """Return the number of the class of each, as text; None where the list has none."""
        beside_names = ("class",) if self.column(CLASSES) == self.column(_NAMES) else ()
        return [_whole(number) for number in texts(self.table, self.column((*CLASS_NUMBERS, *beside_names)))]

    def rows_told(self) -> RowsTold:
        """Return by the rows of which lists `ids` go: of those that a table names, else of the list itself."""
        files, rows = (self.column((name,)) for name in (FILE, LIST_ROWS))
        if files is None:
            return RowsTold({self.path: ()})
        return rows_in(self.table, files, rows)

    @property
    def by_rows(self) -> bool:
        """Whether `ids` are the tomogram and the row, and not what the list itself says."""
        return not self.particle_of_rows and self.column(IDS) is None

    def ids(self) -> list[str]:
        """Return the ids by which data sets know the particles: of an image, or the tomogram's name and the row."""
        column = relion.PARTICLE_NAME if self.particle_of_rows else self.column(IDS)
        if column is not None:
            return [name or "" for name in texts(self.table, column)]
        return [f"{stem(name)}/{row}" if name else str(row) for row, name in enumerate(self.tomograms)]


def _whole(text: str | None) -> str | None:
    """Return a number that is whole without its decimal point, as where pandas reads 2 as 2.0."""
    return text.removesuffix(".0") if text and text.removesuffix(".0").isdecimal() else text
