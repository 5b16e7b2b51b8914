"""A new optimisation set of RELION beside a list of particles that was written from those of another one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from cryoreg.contracts import Subtomograms
from cryoreg.datasets.io import relion
from cryoreg.datasets.io.star_blocks import read_lines, scan
from cryoreg.datasets.io.star_text import quoted, spans
from cryoreg.datasets.tilt_stacks.files import references
from cryoreg.datasets.tomograms.names import find_above
from cryoreg.files import write_text

_FILES = (relion.PARTICLES_FILE, relion.TOMOGRAMS_FILE)


def new_sets(output: Path, dataset: Subtomograms) -> list[Path]:
    """Return the optimisation set that is written with a STAR file ``output``: none, or NAME_optimisation_set.star."""
    listed = dataset.optimisation_set is not None and output.suffix.lower() == ".star"
    return [set_beside(output)] if listed else []


def write_sets(output: Path, dataset: Subtomograms) -> None:
    """Write the optimisation set of `new_sets`: all that the old one says, but for the list of particles."""
    for path in new_sets(output, dataset):
        write_text(path, set_text(Path(str(dataset.optimisation_set)), output))


def set_beside(particles: Path) -> Path:
    """Return where the optimisation set of a list of particles is written."""
    return particles.with_name(f"{particles.stem}_optimisation_set.star")


def set_text(source: Path, particles: Path) -> str:
    """Return the text of an optimisation set with other ``particles``.

    Names stay relative to where they begin (RELION's project, or the folder of the set) where the new list lies in
    there, too; else they become absolute.
    """
    base, written = _base(source), particles.resolve()
    if base is not None and written.is_relative_to(base):
        return _replaced(source, {relion.PARTICLES_FILE: os.fspath(written.relative_to(base))})
    named = references(source)
    files = {word: find_above(named[word], source.parent) or named[word] for word in _FILES if word in named}
    return _replaced(source, {**files, relion.PARTICLES_FILE: os.fspath(written)})


def _base(source: Path) -> Path | None:
    """Return the folder in which the names in a set begin; None where they are absolute."""
    name = references(source)[relion.PARTICLES_FILE]
    place = find_above(name, source.parent)
    return None if place is None or os.path.isabs(name) else Path(place.removesuffix(name)).resolve()


def _replaced(source: Path, files: Mapping[str, str]) -> str:
    """Return the text of a set with other files; all else stays as it is, character by character."""
    lines = list(read_lines(source))
    for block in scan(source, lines):
        for number in block.rows:
            for place, word in reversed([*enumerate(block.labels)]):
                if word in files:
                    lines[number] = _with_value(lines[number], place, files[word])
    for number, line in enumerate(lines):  # an item is a line of its own
        found = [line[start:stop].removeprefix("_") for start, stop in spans(line)]
        if len(found) == 2 and line.lstrip().startswith("_") and found[0] in files:
            lines[number] = _with_value(line, 1, files[found[0]])
    return "".join(lines)


def _with_value(line: str, place: int, value: str) -> str:
    start, stop = spans(line)[place]
    return line[:start] + quoted(value) + line[stop:]
