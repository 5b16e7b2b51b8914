"""Which file is the tomogram that a particle list names, and what RELION's tomograms.star says of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.datasets.io import relion, relion_tables
from cryoreg.datasets.io.columns import numbers, triples
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.tomograms.index_files import is_index, read_index
from cryoreg.datasets.tomograms.kinds import ENDINGS, instead_of_tomograms, is_tomogram, tomograms_in
from cryoreg.datasets.tomograms.matching import Matches, guess_of, match_names

_STAR_NAME = "tomograms.star"
_STRIPPED = (".ome.zarr", ".tomostar", ".st", ".ali", ".gz", ".em", ".hdf", *ENDINGS)
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
    half: str | None = None
    """The column that names a half of the tomogram, where the table has that alone."""
    absent: bool = False
    """Whether there is a tomograms.star, and it lacks this one."""
    guess: str | None = None
    """In words, where the file is no more than likely to be the one that is meant."""


def describe_tomograms(
    list_path: str, names: Iterable[str | None], tomograms: Path | None
) -> dict[str | None, Described]:
    """Return each named tomogram; raise `DataError`, with the first name at fault, where a file is not clear.

    ``tomograms`` is their folder, the only tomogram, a tomograms.star, or a .doc or .vll file of Dynamo, and overrules
    what the list says of files; without it, they are where the list says, else beside it. `match_names` has the rule.
    """
    if tomograms is not None and not tomograms.exists():
        refuse(tomograms, "does not exist; check dataset.tomograms")
    distinct = list(dict.fromkeys(names))
    if tomograms is not None and (is_tomogram(tomograms) or _of_another_kind(tomograms)):
        return _only(list_path, distinct, os.fspath(tomograms))
    told, by_table = _tables(list_path, tomograms), tomograms is None or tomograms.suffix.lower() == ".star"
    entries = {name: _entry(told, name) for name in distinct}
    listed = {name: entry for name, entry in entries.items() if entry.file and by_table}
    missing = [name for name in distinct if name not in listed]
    half = next((entry.half for name in missing if (entry := entries[name]).half), None)
    search = _Search(list_path, tomograms, half)
    files = search.files_of(missing) if missing else {}
    found = {name: _at(entries[name], file, not by_table) for name, file in files.items()}
    return {name: listed.get(name) or found[name]._replace(guess=search.guesses.get(name)) for name in distinct}


def _entry(told: Mapping[str, Described], name: str | None) -> Described:
    """Return what a tomograms.star says of a tomogram."""
    return (told.get(stem(name)) if name else None) or Described(None, absent=bool(told))


def _of_another_kind(tomograms: Path) -> bool:
    """Tell whether a path is a file that can only be meant as a tomogram; opening it tells what it is."""
    return tomograms.is_file() and tomograms.suffix.lower() != ".star" and not is_index(tomograms)


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
    return {names[0]: _at(_entry(_tables(list_path, None), names[0]), file, True)}


class _Search:
    """Finds the files of tomograms: in the place that the user gives, else where the list says and beside it."""

    def __init__(self, list_path: str, tomograms: Path | None, half: str | None = None) -> None:
        self._half = half
        self.guesses: Mapping[str | None, str] = {}
        self._list, self._told = list_path, tomograms is not None and tomograms.suffix.lower() != ".star"
        place = tomograms or Path(list_path).parent
        self._folder = place if place.is_dir() else place.parent
        self._index = read_index(place) if is_index(place) else None
        self._place = place if self._index is not None else self._folder
        self._start = Path(list_path) if not tomograms and os.path.isdir(list_path) else self._folder
        """From where paths in the list start: a folder of lists is that of its lists."""

    def files_of(self, names: Sequence[str | None]) -> dict[str | None, str]:
        """Return the file of each name."""
        paths = {name: path for name in names if (path := self._path_of(name))}
        rest = [name for name in names if name is not None and name not in paths]
        files = self._files()
        matches = match_names(rest, list(files))
        for name in rest:
            if name not in matches.found:
                self._refuse(name, matches, list(files))
        self.guesses = {name: guess for name, match in matches.found.items() if (guess := guess_of(name, match))}
        paths |= {name: files[match.file] for name, match in matches.found.items()}
        return {name: self._of_no_name(files) if name is None else paths[name] for name in names}

    def _path_of(self, name: str | None) -> str | None:
        """Return the file of a name that is a path, below the folder that the user gives or above the list; or None."""
        if self._index is not None:
            return self._located(self._index.get(int(name))) if name and name.isdecimal() else None
        if name is None or not os.path.dirname(name):
            return None
        path = os.path.join(self._folder, name) if self._told else find_above(name, self._start)
        inside = path is not None and (not self._told or _below(path, self._folder))
        return path if path and inside and os.path.exists(path) and is_tomogram(path) else None

    def _located(self, file: str | None) -> str | None:
        return find_above(file, self._folder) if file else None

    def _files(self) -> dict[str, str]:
        """Return the tomograms to choose from, name -> path."""
        if self._index is None:
            return {file: os.fspath(self._folder / file) for file in tomograms_in(self._folder)}
        located = [path for file in self._index.values() if (path := self._located(file))]
        return {os.path.basename(path): path for path in located}

    def _of_no_name(self, files: Mapping[str, str]) -> str:
        """Return the file of particles whose tomogram is not named: that which the list is called, else the only one.

        It is a guess where the list is called as another tomogram may be.
        """
        own = Path(self._list).stem
        match = match_names([own], list(files)).found.get(own)
        if match is None and len(files) != 1:
            refuse(
                self._list,
                f"does not name its tomograms, and {self._place} holds {len(files)}; "
                "say --set dataset.tomograms=<file>",
            )
        guess = guess_of(own, match) if match else _of_another_name(self._list)
        if guess:
            self.guesses = {**self.guesses, None: guess}
        return files[match.file] if match else next(iter(files.values()))

    def _refuse(self, name: str, matches: Matches, files: Sequence[str]) -> NoReturn:
        """Say why a name means no file, or which others it may mean."""
        rivals, near = matches.rivals.get(name), matches.unclear.get(name)
        if rivals:
            refuse(
                self._list,
                f"names the tomograms '{name}' and '{rivals[0]}', but {self._place} holds a single file for both "
                f"({near[0] if near else ''}); add the other one, or give them names of their own",
            )
        if near:
            listed = ", ".join(near[:_ALIKE]) + (", ..." if len(near) > _ALIKE else "")
            refuse(
                self._list,
                f"names the tomogram '{name}', which may be {len(near)} files of {self._place} ({listed}); "
                "say --set dataset.tomograms=<folder> with one of them",
            )
        if self._half and not files:
            refuse(
                self._list,
                f"names the tomogram '{name}', of which tomograms.star has {self._half}, no whole tomogram; say "
                "--set dataset.tomograms=<folder of the halves, or of whole ones>",
            )
        have = f"it holds {files[0]}, ..." if files else f"it holds {instead_of_tomograms(self._folder)}"
        refuse(
            self._list,
            f"names the tomogram '{name}', which is not in {self._place} ({have}); "
            "say --set dataset.tomograms=<folder>",
        )


def _of_another_name(list_path: str) -> str | None:
    """Say of the only tomogram that a list, which names none, is not called as it is, but perhaps as another one."""
    name = os.path.basename(list_path)
    numbered = any(map(str.isdigit, name))
    return f"is the only one there for {name}, which names no tomogram: is it of this one?" if numbered else None


def _below(path: str, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _tables(list_path: str, tomograms: Path | None) -> dict[str, Described]:
    """Read the tomograms.star that is given, or lies in the folder of the tomograms or beside the list."""
    place = tomograms_star_of(list_path, tomograms)
    return {} if place is None else read_tomograms_star(place)


def tomograms_star_of(list_path: str, tomograms: Path | None = None) -> Path | None:
    """Return the tomograms.star that is given, or lies in the folder of the tomograms or beside the list."""
    if tomograms is not None and tomograms.suffix.lower() == ".star":
        return tomograms
    beside = Path(list_path)
    places = [beside.parent / _STAR_NAME, beside.with_name(f"{beside.stem}_{_STAR_NAME}")]
    if tomograms is not None:
        places.insert(0, tomograms / _STAR_NAME)
    return next((place for place in places if place.is_file() and place != beside), None)


def read_tomograms_star(path: Path) -> dict[str, Described]:
    """Return what a tomograms.star of RELION 4 or 5 says, by the name of the tomogram."""
    table = relion_tables.read_table(path, [relion.TOMOGRAM], "tomograms")
    relion_tables.check_one_of_each(path, table, relion.TOMOGRAM, "tomogram")
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
            relion.HALF if relion.HALF in table else None,
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
    """Return the file of a reconstructed tomogram, else of the denoised one, None where neither is there."""
    return next((file for column in relion.RECONSTRUCTIONS if (file := _beside(path, table, row, column))), None)


def _tilt_range(path: Path, table: pd.DataFrame, row: int) -> tuple[float, float] | None:
    """Return the smallest and largest tilt of a tilt series, None where its own table is not there."""
    file = _beside(path, table, row, relion.TILT_SERIES)
    if file is None:
        return None
    tilts = relion_tables.read_table(file, relion.TILTS, "tilt images")
    angles = numbers(file, tilts, next(column for column in relion.TILTS if column in tilts))
    return float(angles.min()), float(angles.max())


def _beside(path: Path, table: pd.DataFrame, row: int, column: str) -> str | None:
    return find_above(str(table[column][row]), path.parent) if column in table else None
