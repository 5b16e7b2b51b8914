"""What a list says of files relative to its own folder, once it is written into another one."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from cryoreg.contracts import Subtomograms
from cryoreg.datasets.io import relion, relion_tables
from cryoreg.datasets.io.columns import first_of, tomogram_names
from cryoreg.datasets.io.eman2_lists import is_list, read_rows
from cryoreg.datasets.io.star_text import unquoted
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.origins import origins_of
from cryoreg.datasets.particles.carried import written
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.datasets.particles.motive_lists import is_motive_list, motive_list
from cryoreg.datasets.particles.sniffing import kind_of_list
from cryoreg.datasets.tomograms.names import find_above
from cryoreg.inference.moved_meanings import files_of, is_numbered, lost, notes_on_meanings
from cryoreg.inference.particle_text import ParticleText

Names = Sequence[str | None]


def with_files(table: ParticleText, output: Path) -> ParticleText:
    """Return a list that names its tomograms' files so that they are found from the folder of ``output``, too."""
    home, away = Path(table.path).absolute().parent, output.absolute().parent
    if home == away or not all(relion.FILE in each.labels for each in table.tables):
        return table
    names = [unquoted(cell) for each in table.tables for cell in table.cells(each, relion.FILE)]
    found = {name: (find_above(name, home), find_above(name, away)) for name in set(names)}
    moved = {name: written(there, away) for name, (there, here) in found.items() if there and here != there}
    if not moved:
        return table
    text = table.with_columns({relion.FILE: [moved.get(name, name) for name in names]})
    return ParticleText.star_of(table.path, list(io.StringIO(text, newline="")))


def notes_on_kept(output: Path, dataset: Subtomograms) -> list[str]:
    """Return `notes_on_moved` of the list that all of a data set come from, which ``output`` is to keep."""
    files = {origin.file for origin in origins_of(dataset)}
    path = next(iter(files))
    if len(files) > 1 or not os.path.isfile(path):
        return []
    if output.suffix.lower() == ".lst":
        table = pd.DataFrame({"file": [row.file for row in read_rows(path)]}) if is_list(path) else pd.DataFrame()
        return notes_on_moved(path, table, [], output)
    return notes_on_moved(path, *_listed(path), output, dataset.optimisation_set is not None)


def _listed(path: str) -> tuple[pd.DataFrame, Names]:
    """Return the columns of a list, and the tomogram of each particle."""
    kind = kind_of_list(path)
    if kind is None:
        return pd.DataFrame(), []
    if kind != "star":
        particles = read_particle_list(path)
        return particles.columns, particles.tomograms
    table = relion_tables.read_particles(path)
    if is_motive_list(table):
        return table, motive_list(path, table).tomograms
    return table, tomogram_names(table, first_of(table, relion.TOMOGRAMS))


def notes_on_moved(
    path: str, table: pd.DataFrame, tomograms: Names, output: Path, described: bool = False
) -> list[str]:
    """Return notes on what a list names and nobody finds who reads it as ``output``.

    Of files, one name of each folder is looked up; `with_files` has seen to the column in which cryoreg names those of
    tomograms. Of tomograms, it is what a reader of the list takes for them, unless an optimisation set has them
    ``described``. Raises `DataError` where a name leads to another file from there, as where lists of two RELION
    projects are merged, each with images of its own in Extract/job012, or with a TS_01 of its own.
    """
    notes = _on_files(path, table, output)
    if described:
        return notes
    notes += notes_on_meanings(path, table, output)
    cut = not {relion.IMAGE, relion.FILE} & {*table} and not {"file", "row"} <= {*table}
    return notes or (_on_tomograms(path, tomograms, output) if cut and not is_numbered(path, table) else [])


def _on_files(path: str, table: pd.DataFrame, output: Path) -> list[str]:
    home, away = Path(path).resolve().parent, output.resolve().parent
    notes = []
    for column in table if home != away else ():
        for name in _file_names(table, str(column)):
            found = _found(path, f"'{name}' ({column})", find_above(name, home), find_above(name, away), output)
            if found is not None:
                notes.append(found)
                break
    return notes


def _file_names(table: pd.DataFrame, column: str) -> Iterator[str]:
    """Yield the first name of each folder in a column, where it may be one of a file that is relative."""
    folders = set()
    texts = column != relion.FILE and not pd.api.types.is_numeric_dtype(table[column])
    for cell in table[column].dropna().unique() if texts else ():
        name = str(cell).rpartition("@")[2]
        folder = os.path.dirname(name)
        if folder not in folders and (folder or column == relion.IMAGE) and name and not os.path.isabs(name):
            folders.add(folder)
            yield name


def _on_tomograms(path: str, tomograms: Names, output: Path) -> list[str]:
    names = list(dict.fromkeys(tomograms))
    for name, before in files_of(path, names).items():
        if before is None:
            continue
        after = files_of(str(output), [name])[name]
        what = f"the tomogram '{name}'"
        found = _found(path, what, before, after, output) if name else _of_no_name(path, before, after, output)
        if found is not None:
            return [found]
    return []


def _found(path: str, what: str, before: str | None, after: str | None, output: Path) -> str | None:
    """Return a note on what was found and is no more; raise `DataError` where it is another file."""
    home, away = Path(path).resolve().parent, output.resolve().parent
    if before and after and not os.path.samefile(before, after):
        refuse(
            path,
            f"names {what}, which would be {after} for a list in {away}; write it into {home}, or give the list "
            "absolute names",
        )
    if after or not before:
        return None
    return lost(path, what, output)


def _of_no_name(path: str, before: str, after: str | None, output: Path) -> str | None:
    """Do the same with the tomogram of a list that names none, which is the one it is called as, or the only one."""
    if after and not os.path.samefile(before, after):
        refuse(path, f"names no tomogram and is of {before}, but {output} would be of {after}; call it otherwise")
    taken = f"note: {path} names no tomogram and is of {before}, which nothing says of {output}"
    return None if after else f"{taken}: say --tomograms {before} when you use it"
