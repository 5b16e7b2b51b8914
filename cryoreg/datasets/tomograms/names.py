"""Which file is the tomogram that a particle list names, and what RELION's tomograms.star says of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.columns import numbers, triples
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.tomograms.dynamo_index import read_index
from cryoreg.datasets.tomograms.kinds import ENDINGS, instead_of_tomograms, is_tomogram, tomograms_in

_STAR_NAME = "tomograms.star"
_STRIPPED = (".ome.zarr", ".tomostar", ".st", ".ali", ".gz", *ENDINGS)
_TABLES = (".star", ".doc", ".vll")
"""Files that list tomograms."""
_ALIKE = 3
"""Files named in a message."""


class Described(NamedTuple):
    """One tomogram: its file, and what a tomograms.star of RELION says of it, None where it does not."""

    file: str | None
    tilt_size: float | None = None
    """Å per pixel of the tilt series."""
    unbinned: NDArray[np.float64] | None = None
    """Size x, y, z in voxels of that size."""
    binning: float | None = None
    tilt_range: tuple[float, float] | None = None
    """Smallest and largest tilt, degrees."""


def describe_tomograms(
    list_path: str, names: Iterable[str | None], tomograms: Path | None
) -> dict[str | None, Described]:
    """Return each named tomogram; raise `DataError`, with the first name at fault, where a file is not clear.

    ``tomograms`` is their folder, the only tomogram, a tomograms.star or a .doc file of Dynamo; without it, they lie
    beside the list. Names match files exactly, without extensions, or as a part of the file's name: ``TS_01`` is
    ``TS_01_10.00Apx.mrc``. Numbers match the number in a file's name.
    """
    if tomograms is not None and not tomograms.exists():
        refuse(tomograms, "does not exist; check dataset.tomograms")
    distinct = list(dict.fromkeys(names))
    if tomograms is not None and (is_tomogram(tomograms) or _of_another_kind(tomograms)):
        return _only(list_path, distinct, os.fspath(tomograms))
    told = _tables(list_path, tomograms)
    index = read_index(tomograms) if tomograms is not None and tomograms.suffix.lower() == ".doc" else {}
    folder = Path(list_path).parent if tomograms is None else tomograms
    search = _Search(list_path, folder if folder.is_dir() else folder.parent)
    found: dict[str | None, Described] = {}
    for name in distinct:
        entry = told.get(stem(name), Described(None)) if name else Described(None)
        known = index.get(int(name)) if name and name.isdecimal() else None
        beside = tomograms is not None and tomograms.is_dir()
        found[name] = entry if entry.file and not beside else _at(entry, search.find(known or name), beside)
    return found


def _of_another_kind(tomograms: Path) -> bool:
    """Tell whether a path is a file that can only be meant as a tomogram; opening it tells what it is."""
    return tomograms.is_file() and tomograms.suffix.lower() not in _TABLES


def _at(entry: Described, file: str, told: bool) -> Described:
    """Return an entry with the file that the user ``told``, of which the binning may be another than the table's."""
    same = not told or entry.file is None or os.path.realpath(entry.file) == os.path.realpath(file)
    return entry._replace(file=file, binning=entry.binning if same else None)


def stem(name: str) -> str:
    """Return the name of a tomogram without folder and known extension."""
    name = os.path.basename(name.rstrip("/"))
    for ending in _STRIPPED:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def find_above(name: str, folder: str | Path) -> str | None:
    """Return the path of a file that is named relative to a folder or one above it; None where it is in none."""
    for start in (Path(folder).absolute(), *Path(folder).absolute().parents):
        path = os.path.join(start, name)
        if os.path.exists(path):
            return path
    return None


def _only(list_path: str, names: Sequence[str | None], file: str) -> dict[str | None, Described]:
    if len(names) > 1:
        refuse(
            list_path,
            f"lists particles of {len(names)} tomograms ({names[0]}, {names[1]}, ...), but dataset.tomograms is one "
            f"({file}); give their folder",
        )
    told = _tables(list_path, None).get(stem(names[0])) if names[0] else None
    return {names[0]: _at(told or Described(None), file, True)}


class _Search:
    """Finds the files of tomograms in a folder."""

    def __init__(self, list_path: str, folder: Path) -> None:
        self._list, self._folder = list_path, folder
        self._files = tomograms_in(folder)

    def find(self, name: str | None) -> str:
        if name is None:
            return self._single()
        if os.path.dirname(name):
            direct = find_above(name, self._folder) or find_above(name, Path(self._list).parent)
            if direct and is_tomogram(direct):
                return direct
        if os.path.basename(name) in self._files:
            return os.fspath(self._folder / os.path.basename(name))
        for matches in self._rules(stem(name)):
            found = [file for file in self._files if matches(file)]
            if found:
                return self._one(name, found)
        have = f"it holds {self._files[0]}, ..." if self._files else f"it holds {instead_of_tomograms(self._folder)}"
        refuse(
            self._list,
            f"names the tomogram '{name}', which is not in {self._folder} ({have}); "
            "say --set dataset.tomograms=<folder>",
        )

    def _single(self) -> str:
        if len(self._files) != 1:
            refuse(
                self._list,
                f"does not name its tomograms, and {self._folder} holds {len(self._files)}; "
                "say --set dataset.tomograms=<file>",
            )
        return os.fspath(self._folder / self._files[0])

    @staticmethod
    def _rules(name: str) -> list[Callable[[str], bool]]:
        """Return what a file's name may have to do with a tomogram's, the surest first."""
        word = re.escape(name)
        same: Callable[[str], bool] = lambda file: stem(file) == name  # noqa: E731
        if name.isdecimal():
            number = rf"(?<![\d.])0*{int(name)}(?!\d|\.\d)"
            return [same, lambda file: re.search(number, stem(file)) is not None]
        return [
            same,
            lambda file: re.match(rf"{word}(?![a-zA-Z0-9])", file) is not None,
            lambda file: re.search(rf"(?<![a-zA-Z0-9]){word}(?![a-zA-Z0-9])", file) is not None,
        ]

    def _one(self, name: str, found: Sequence[str]) -> str:
        if len(found) > 1:
            listed = ", ".join(found[:_ALIKE]) + (", ..." if len(found) > _ALIKE else "")
            refuse(
                self._list,
                f"names the tomogram '{name}', which may be {len(found)} files of {self._folder} ({listed}); "
                "say --set dataset.tomograms=<folder> with one of them",
            )
        return os.fspath(self._folder / found[0])


def _tables(list_path: str, tomograms: Path | None) -> dict[str, Described]:
    """Read the tomograms.star that is given, or lies in the folder of the tomograms or beside the list."""
    if tomograms is not None and tomograms.suffix.lower() == ".star":
        return read_tomograms_star(tomograms)
    beside = Path(list_path)
    places = [beside.parent / _STAR_NAME, beside.with_name(f"{beside.stem}_{_STAR_NAME}")]
    if tomograms is not None:
        places.insert(0, tomograms / _STAR_NAME)
    for place in places:
        if place.is_file() and place != beside:
            return read_tomograms_star(place)
    return {}


def read_tomograms_star(path: Path) -> dict[str, Described]:
    """Return what a tomograms.star of RELION 4 or 5 says, by the name of the tomogram."""
    table = relion.read_table(path, [relion.TOMOGRAM], "tomograms")
    relion.check_one_of_each(path, table, relion.TOMOGRAM, "tomogram")
    sizes = triples(path, table, relion.TOMOGRAM_SIZE)
    tilts, binnings = (
        _optional(path, table, relion.TILT_SIZE),
        _optional(path, table, relion.BINNING),
    )
    told: dict[str, Described] = {}
    for row, name in enumerate(table[relion.TOMOGRAM]):
        told[stem(str(name))] = Described(
            _reconstruction(path, table, row),
            tilts[row] if tilts else None,
            None if sizes is None else sizes[row],
            binnings[row] if binnings else None,
            _tilt_range(path, table, row),
        )
    return told


def _optional(path: Path, table: pd.DataFrame, column: str) -> list[float] | None:
    if column not in table:
        return None
    values = numbers(path, table, column)
    if not (values > 0).all():
        refuse(path, f"has a {column} of {values.min():g}; mend it")
    return values.tolist()


def _reconstruction(path: Path, table: pd.DataFrame, row: int) -> str | None:
    """Return the file of a reconstructed tomogram, None where the table has none or it is not there."""
    return _beside(path, table, row, relion.RECONSTRUCTION)


def _tilt_range(path: Path, table: pd.DataFrame, row: int) -> tuple[float, float] | None:
    """Return the smallest and largest tilt of a tilt series, None where its own table is not there."""
    file = _beside(path, table, row, relion.TILT_SERIES)
    if file is None:
        return None
    tilts = relion.read_table(file, relion.TILTS, "tilt images")
    angles = numbers(file, tilts, next(column for column in relion.TILTS if column in tilts))
    return float(angles.min()), float(angles.max())


def _beside(path: Path, table: pd.DataFrame, row: int, column: str) -> str | None:
    return find_above(str(table[column][row]), path.parent) if column in table else None
