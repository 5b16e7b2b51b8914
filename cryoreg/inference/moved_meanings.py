"""What files beside a list say of its tomograms, which is lost, or becomes another thing, where it is written anew.

These are the tables by which numbers of tomograms have names (Dynamo's .doc, STOPGAP's tomolist), tomograms.star, which
tells the unit of coordinates, and the models of PEET's points.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.datasets.particles.motive_lists import is_motive_list
from cryoreg.datasets.particles.numbered_tomograms import name_tomograms
from cryoreg.datasets.particles.particle_list import ParticleList
from cryoreg.datasets.particles.peet import model_of
from cryoreg.datasets.particles.sniffing import Kind, kind_of_list
from cryoreg.datasets.tomograms.matching import bare
from cryoreg.datasets.tomograms.names import (
    Described,
    describe_tomograms,
    read_tomograms_star,
    stem,
    tomograms_star_of,
)
from cryoreg.errors import DataError

_NUMBERED: tuple[Kind, ...] = ("dynamo", "em", "cryocat")


def files_of(path: str, names: Sequence[str | None]) -> dict[str | None, str | None]:
    """Return the files that the reader of a list takes for tomograms, None where it would refuse."""
    try:
        return {name: each.file for name, each in describe_tomograms(path, names, None).items()}
    except DataError:
        return {name: files_of(path, [name])[name] for name in names} if len(names) > 1 else dict.fromkeys(names)


def is_numbered(path: str, table: pd.DataFrame) -> bool:
    """Tell whether a list calls its tomograms by number."""
    kind = kind_of_list(path)
    return kind in _NUMBERED or (kind == "star" and is_motive_list(table))


def notes_on_meanings(path: str, table: pd.DataFrame, output: Path) -> list[str]:
    """Return notes on what a list means by files beside it, and no more where it is written as ``output``.

    Raises `DataError` where it would mean something else there.
    """
    if is_numbered(path, table):
        return _on_numbers(read_particle_list(path), output)
    if kind_of_list(path) == "peet":
        return _on_points(path, output)
    return _on_units(path, table, output)


def lost(path: str, what: str, output: Path) -> str:
    """Return a note on what a list names and nobody finds from its new place."""
    return (
        f"note: {what}, which {path} names, is not found from {output.resolve().parent}: keep the list in its project, "
        "or say where files are when you use it"
    )


def _on_numbers(particles: ParticleList, output: Path) -> list[str]:
    """Compare the tomograms of numbers; return a note where the table that names them is not found any more."""
    path, numbers = particles.path, particles.numbers
    assert numbers is not None
    here = {number: name for number, name in zip(numbers, particles.tomograms, strict=True) if number is not None}
    renamed = name_tomograms([*here], str(output), *particles.named_by).tomograms
    files, own = files_of(path, [*here.values()]), output.with_suffix(Path(particles.named_by[0]).suffix).name
    for (number, name), other in zip(here.items(), renamed, strict=True):
        told, tells, was = name != str(number), other != str(number), files[name]
        there = files_of(str(output), [other])[other]
        would_be = there or (_by_its_number(number, was) if told and not tells else None)
        if _are_two(was, would_be) if was and would_be else told and tells and bare(str(name)) != bare(str(other)):
            refuse(
                path,
                f"means {was or name} by the number {number}, which would be {would_be or other} for {output}; write "
                f"it into {Path(path).resolve().parent}, or put a table of its tomograms there first, as {own}",
            )
        if told and not tells and not would_be:
            return [
                f"note: the tomogram {number}, which {path} names, is {name} by a table beside it, and there is none "
                f"for {output}: put one there, as {own}, or give it with --tomograms when you use the list"
            ]
        if was and not there:
            return [lost(path, f"the tomogram '{name}'", output)]
    return []


def _by_its_number(number: int, file: str | None) -> str | None:
    """Return the file that a number means by names alone, where the folder of ``file`` is given with --tomograms."""
    return files_of(os.path.join(os.path.dirname(file), "list"), [str(number)])[str(number)] if file else None


def _are_two(one: str, other: str) -> bool:
    return os.path.realpath(one) != os.path.realpath(other)


def _on_points(path: str, output: Path) -> list[str]:
    """Compare the models of PEET's points."""
    was, would_be = model_of(path), model_of(output)
    if was is None or (would_be and not _are_two(str(was), str(would_be))):
        return []
    if would_be is not None:
        refuse(path, f"has its points in {was}, and {output} would have them in {would_be}; write it elsewhere")
    return [
        f"note: the points of {path} are in {was}, which is not found for {output}: put it there, as "
        f"{output.with_suffix('.mod').name}"
    ]


def _on_units(path: str, table: pd.DataFrame, output: Path) -> list[str]:
    """Compare what tomograms.star says of the unit and centre of coordinates, as far as the list does not say."""
    if relion.TOMOGRAM not in table or not relion.lists_places(table.columns):
        return []
    places = tomograms_star_of(path), tomograms_star_of(str(output))
    if places[0] == places[1]:
        return []
    here, there = ({} if place is None else read_tomograms_star(place) for place in places)
    centred = relion.CENTRED[0] in table
    told = relion.coordinate_sizes(path, table, centred) is not None
    names = {stem(str(name)) for name in table[relion.TOMOGRAM].unique()}
    was, would_be = ({name: _unit(of.get(name), centred, told) for name in names} for of in (here, there))
    if was == would_be:
        return []
    copy = f"put a copy of that there first, as {output.stem}_tomograms.star"
    if any(map(any, would_be.values())):
        refuse(
            path,
            f"counts in the unit that {places[0] or 'its tomograms'} tells, and {places[1]} tells another one of "
            f"{output}; write it elsewhere",
        )
    if not centred:
        refuse(path, f"counts in the unit that {places[0]} tells, which nothing tells of {output}; {copy}")
    return [
        f"note: the centre of its coordinates is told by {places[0]}, and by nothing for {output}, where half the "
        f"tomogram is taken; {copy}, or say --tomograms {places[0]} when you use the list"
    ]


def _unit(said: Described | None, centred: bool, told: bool) -> tuple[object, ...]:
    """Return what places depend on."""
    known = said or Described(None)
    size = None if known.unbinned is None else tuple(known.unbinned.tolist())
    return (None if told else known.tilt_size, *((size, known.binning) if centred else ()))
