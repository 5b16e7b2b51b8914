"""Several lists as one: the text of the first, with the rows of the others below its own."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from functools import reduce
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.datasets.io import relion
from cryoreg.datasets.io.star_blocks import scan, table_of
from cryoreg.datasets.io.star_text import quoted, spans
from cryoreg.datasets.io.text_tables import locate_rows
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.datasets.particles.sniffing import kind_of_list
from cryoreg.errors import DataError
from cryoreg.inference.particle_text import Listing, ParticleText, added
from cryoreg.selection.listed import TEXTS, Listed

_TAG, _TOMOGRAM = "tag", "tomo"
_NAMES = (relion.TOMO_PARTICLE_NAME, "subtomo_num", "subtomo_id")
"""Columns by whose values programs tell particles apart."""
_PLACES = (*relion.CENTRED, *relion.COORDINATES, "orig_x", "orig_y", "orig_z", "x", "y", "z")


def merge(lists: Sequence[Listed]) -> ParticleText:
    """Return the first list with the particles of all others after its own.

    Optics groups that the first has not are added to it, and numbered anew where the number is taken. Raises
    `DataError`, one line, where lists are of different kinds, columns or statements, which nothing could make one.
    """
    return reduce(_add, lists[1:], lists[0]).text


def notes_on_names(lists: Sequence[Listed], kept: NDArray[np.bool_]) -> list[str]:
    """Return a note where of particles that stay two have one name, as RELION's jobs each begin at TS_01/1.

    RELION writes both into one file when it extracts them again. Another note tells of lists that name no tomograms.
    """
    if len(lists) < 2:
        return []
    cut_out = {relion.IMAGE, "file"}  # who names an image or a list needs no tomogram
    nameless = [each.path for each in lists if None in each.tomograms and not cut_out & {*each.table}]
    if len(nameless) > 1:
        return [
            f"note: {nameless[0]} and {nameless[1]} do not name their tomograms, and merged are of one: if they are of "
            "two, give them a column that names these (tomogram, rlnTomoName)"
        ]
    table = pd.concat([each.table for each in lists], ignore_index=True)[kept]
    for name in _NAMES:
        if name not in table:
            continue
        distinct = table[[name, *(place for place in _PLACES if place in table)]].drop_duplicates()
        twice = distinct[name][distinct[name].duplicated()]
        if len(twice):
            return [
                f"note: {len(twice)} values of {name} are of two particles (the first: {twice.iloc[0]}), which "
                "programs take for one (RELION, when it extracts anew, writes both into one file): name them apart"
            ]
    return []


def _add(one: Listed, other: Listed) -> Listed:
    suffix = Path(one.path).suffix.lower()
    if Path(other.path).suffix.lower() != suffix:
        refuse(other.path, f"is no {suffix} as {one.path}, into which it should be merged; write both in one format")
    _check_columns(one, other)
    _check_fractions(one, other)
    kinds = {kind_of_list(each.path) for each in (one, other)}
    if "emclarity" in kinds:
        refuse(other.path, f"cannot be merged with {one.path}: a table of emClarity is of one tomogram")
    add = (
        _star
        if suffix == ".star"
        else _delimited
        if suffix in TEXTS
        else _dynamo
        if suffix == ".tbl"
        else _rows_as_they_are
    )
    table = pd.concat([one.table, other.table], ignore_index=True)
    return Listed(one.path, add(one, other), table, [*one.tomograms, *other.tomograms])


def _check_columns(one: Listed, other: Listed) -> None:
    first = set(one.text.tables[-1].labels)
    for table in [*one.text.tables, *other.text.tables]:
        apart = sorted(first ^ set(table.labels))
        if apart:
            where, lacks = (one, other) if apart[0] in first else (other, one)
            refuse(
                other.path,
                f"and {one.path} have different columns: '{apart[0]}' is in {where.path} and not in {lacks.path}; "
                "merge lists with the same columns, as `cryoreg predict` of both would write",
            )


def _check_fractions(one: Listed, other: Listed) -> None:
    """Raise `DataError` where one list is read as fractions of a tomogram's size, and both together would not be."""
    ours, theirs = (_are_fractions(each.path) for each in (one, other))
    if ours != theirs:
        which, not_ = (one, other) if ours else (other, one)
        refuse(
            other.path,
            f"cannot be merged with {one.path}: {which.path} has fractions of its tomograms' size (Warp's matching), "
            f"and {not_.path} has voxels, under the same names; write voxels into both",
        )


def _are_fractions(path: str) -> bool:
    try:
        return read_particle_list(path).are_fractions
    except DataError:  # it has no places
        return False


def _rows(text: ParticleText) -> list[str]:
    return [text.lines[row].rstrip("\r\n") for table in text.tables for row in table.rows]


def _delimited(one: Listed, other: Listed) -> ParticleText:
    """Add the rows of a text table; columns in another order, or otherwise separated, are refused."""
    first, second = (locate_rows(each.path) for each in (one, other))
    if (first.header, first.separator) != (second.header, second.separator):
        refuse(other.path, f"has its columns in another order than {one.path}, or otherwise separated; export it again")
    return one.text.with_rows(_rows(other.text))


def _rows_as_they_are(one: Listed, other: Listed) -> ParticleText:
    return one.text.with_rows(_rows(other.text))


def _dynamo(one: Listed, other: Listed) -> ParticleText:
    """Add the rows of a table; one tag, or one number of a tomogram, that means two things is refused."""
    twice = sorted(set(one.table[_TAG]) & set(other.table[_TAG]))
    if twice:
        refuse(other.path, f"has the tag {twice[0]:g}, as {one.path} has; give its particles other tags (column 1)")
    named = dict(zip(one.table[_TOMOGRAM], one.tomograms, strict=True))
    for number, name in zip(other.table[_TOMOGRAM], other.tomograms, strict=True):
        if named.get(number, name) != name:
            refuse(other.path, f"calls {name} tomogram {number:g}, which is {named[number]} in {one.path}; renumber it")
    return one.text.with_rows(_rows(other.text))


# ---- STAR ----


def _star(one: Listed, other: Listed) -> ParticleText:
    """Add the rows of a STAR file, with its optics groups; other blocks must say the same in both."""
    ours, theirs = _blocks(one), _blocks(other)
    lines, numbers = one.text.lines, dict[str, str]()
    for name, block in theirs.items():
        if relion.lists_particles(block.table.columns):
            continue
        if name not in ours or not (_is_optics(block) or _same(ours[name].table, block.table)):
            refuse(other.path, f"says in block '{name}' what {one.path} does not; merge lists with the same statements")
        if _is_optics(block):
            numbers, more = _merged_groups(one, other, ours[name].table, block.table)
            groups = [" ".join(quoted(row[label]) for label in ours[name].table) for row in more]
            lines = added(lines, ours[name].end, groups)
    labels = [*one.text.tables[-1].labels]
    rows = [_cells(other.text, table, row, labels, numbers) for table in other.text.tables for row in table.rows]
    return ParticleText.star_of(one.path, lines).with_rows(rows)


class _Block(NamedTuple):
    """A block with its values as text."""

    table: pd.DataFrame
    is_table: bool
    end: int
    """The line after its last row, where it is a table."""


def _blocks(listed: Listed) -> dict[str, _Block]:
    found, lines = {}, listed.text.lines
    for block in scan(listed.path, lines):
        as_text = table_of(listed.path, lines, block, block.labels) if block.is_table else pd.DataFrame([block.items])
        found[block.name] = _Block(as_text, block.is_table, block.rows[-1] + 1 if block.rows else 0)
    return found


def _is_optics(block: _Block) -> bool:
    return block.is_table and block.end > 0 and relion.GROUP in block.table


def _same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    return set(one) == set(other) and one.equals(other[[*one]])


def _merged_groups(
    one: Listed, other: Listed, ours: pd.DataFrame, theirs: pd.DataFrame
) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Return the new number of each optics group of the other list, and the groups that the first lacks."""
    apart = sorted(set(ours) ^ set(theirs))
    if apart:
        refuse(other.path, f"and {one.path} have other columns of optics groups ('{apart[0]}'); merge them in RELION")
    known = {_meaning(row): row[relion.GROUP] for row in ours.to_dict("records")}
    taken, names = set(known.values()), set(ours.get(relion.OPTICS_NAME, ()))
    numbers, more = dict[str, str](), []
    for row in theirs.to_dict("records"):
        number = known.get(_meaning(row))
        if number is None:
            number = _free("{}", 1, taken)
            added_row = row | {relion.GROUP: number}
            if row.get(relion.OPTICS_NAME) in names:  # RELION takes groups of one name for one
                added_row[relion.OPTICS_NAME] = _free(f"{row[relion.OPTICS_NAME]}_{{}}", 2, names)
            taken.add(number)
            if relion.OPTICS_NAME in added_row:
                names.add(added_row[relion.OPTICS_NAME])
            more.append(added_row)
        numbers[row[relion.GROUP]] = number
    return numbers, more


def _meaning(row: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((label, value) for label, value in row.items() if label != relion.GROUP))


def _free(pattern: str, first: int, taken: Container[str]) -> str:
    return next(text for text in map(pattern.format, count(first)) if text not in taken)


def _cells(text: ParticleText, table: Listing, row: int, labels: Sequence[str], numbers: Mapping[str, str]) -> str:
    """Return a row with its columns in the order ``labels``, and with the new number of its optics group."""
    line = text.lines[row]
    values = {label: line[begin:end] for label, (begin, end) in zip(table.labels, spans(line), strict=True)}
    group = values.get(relion.GROUP)
    if [*table.labels] == [*labels] and numbers.get(group or "", group) == group:
        return line.rstrip("\r\n")
    if group is not None:
        values[relion.GROUP] = numbers.get(group, group)
    return " ".join(values[label] for label in labels)
