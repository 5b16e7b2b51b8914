"""Ids that are a tomogram and a row of a list: in another list they mean other particles."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

from cryoreg.contracts import Subtomograms
from cryoreg.datasets.io import relion, relion_tables
from cryoreg.datasets.io.columns import texts
from cryoreg.datasets.io.volume_files import refuse
from cryoreg.datasets.origins import known_origins
from cryoreg.datasets.particles.lists import read_particle_list
from cryoreg.datasets.particles.particle_list import digest_of
from cryoreg.datasets.particles.sniffing import kind_of_list
from cryoreg.errors import DataError

LABELS = "write the labels into that list (cryoreg label LIST --export FILE), and cryoreg select from FILE"
CHOICE = "choose from that list"
"""What to do instead with labels, and with ids that choose."""


@dataclass(frozen=True)
class RowsTold:
    """By the rows of which lists ids go, as far as somebody says so."""

    lists: Mapping[str, Collection[str]] = field(default_factory=dict)
    """List -> its `rows_of` at that time; none where nobody says."""

    @classmethod
    def of(cls, said: Iterable[tuple[str | None, str | None]]) -> RowsTold:
        """Take lists and their `rows_of`, as the rows of a table say both."""
        lists = dict[str, set[str]]()
        for file, rows in dict.fromkeys(said):
            if file:
                lists.setdefault(file, set()).update([rows] if rows else [])
        return cls(lists)

    def rows(self, path: str) -> set[str]:
        """Return what is told of a list: by its path, else by its name, else of whichever, as it may have moved."""
        own = self._by_path.get(os.path.realpath(path)) or self._by_name.get(os.path.basename(path))
        return own or set(chain.from_iterable(self.lists.values()))

    def names(self, path: str) -> bool:
        """Tell whether a list is among them, by its path."""
        return os.path.realpath(path) in self._by_path

    @cached_property
    def _by_path(self) -> Mapping[str, set[str]]:
        return self._by(os.path.realpath)

    @cached_property
    def _by_name(self) -> Mapping[str, set[str]]:
        return self._by(os.path.basename)

    def _by(self, key: Callable[[str], str]) -> Mapping[str, set[str]]:
        found = dict[str, set[str]]()
        for file, rows in self.lists.items():
            found.setdefault(key(file), set()).update(rows)
        return found


def rows_of(path: str | Path, first: int | None = None) -> str | None:
    """Return a digest of the particles of a list in their order: tomograms and places, or images where it has none.

    What else a list says of them is not in it. ``first``: of so many from its beginning alone. None of a file that is
    no list.
    """
    try:
        kind = kind_of_list(path) if os.path.isfile(path) else None
        if kind is None:
            return None
        table = relion_tables.read_particles(path) if kind == "star" else None
        if table is not None and relion.IMAGE in table and not relion.lists_places(table):
            return digest_of(texts(table, relion.IMAGE)[:first])
        particles = read_particle_list(path)
        return particles.digest if first is None else particles.digest_of_first(first)
    except DataError:
        return None


def changed(dataset: Subtomograms, path: str) -> bool:
    """Tell whether a list has other particles than when ``dataset`` was made of it, or in another order."""
    now = rows_of(path) if path in dataset.lists else None
    return now is not None and _hash(now) != _hash(dataset.lists[path])


def agree(path: str, now: str, known: Collection[str]) -> bool:
    """Tell whether the rows of a list, ``now``, are some that are ``known``, or whether either goes on with the other.

    Particles that were added behind leave all others their rows. Whether they were, the list at ``path`` shows.
    """
    return any(_hash(now) == _hash(then) or _goes_on(path, now, then) for then in known)


def _goes_on(path: str, *digests: str) -> bool:
    counts = [_count(each) for each in digests]
    if None in counts or len({*counts}) == 1:
        return False
    shown = [rows_of(path, count) for count in counts]
    return shown == [*digests]


def _hash(digest: str) -> str:
    """Return the digest itself, as it stands alone in files of before rows were counted."""
    return ":".join(digest.split(":")[:2])


def _count(digest: str) -> int | None:
    """Return of how many rows it is, where it says so."""
    _, _, count = digest.partition(":")[2].partition(":")
    return int(count) if count.isdecimal() else None


def rows_of_each(dataset: Subtomograms, files: Iterable[str | None]) -> dict[str, str]:
    """Return the `rows_of` the lists among files: those by which a data set knows them, else those of now."""
    others = [file for file in dict.fromkeys(files) if file and file not in dataset.lists]
    return {**dataset.lists, **{file: digest for file in others if (digest := rows_of(file))}}


def goes_by_rows(dataset: Subtomograms) -> bool:
    """Tell whether ids are the tomogram and the row of a list."""
    origins = known_origins(dataset)
    return origins is not None and all(
        name == f"{group}/{origin.row}"
        for name, group, origin in zip(dataset.ids, dataset.groups, origins, strict=True)
    )


def lists_of(dataset: Subtomograms) -> dict[str, set[str | None]]:
    """Return the lists of a data set that goes by their rows, each with its tomograms, which no other one has."""
    found: dict[str, set[str | None]] = {}
    for origin, group in zip(known_origins(dataset) or (), dataset.groups, strict=True):
        found.setdefault(origin.file, set()).add(group)
    return found


def check_rows(dataset: Subtomograms, path: str | Path, said: Iterable[str], told: RowsTold, advice: str) -> None:
    """Raise `DataError` where ids that are ``said`` of a data set that goes by rows are those of another list.

    They are where they name a row that the list of their tomogram has not, or where the rows by which they go, as far
    as that is ``told`` in ``path``, are of other places. ``advice`` says what to do instead.
    """
    ids, unknown = {*dataset.ids}, dict[str, list[str]]()
    for name in said:
        unknown.setdefault(name.rpartition("/")[0], []).extend([] if name in ids else [name])
    for own, tomograms in lists_of(dataset).items():
        here = [unknown[name] for name in tomograms if name in unknown]
        if here:
            strange = sorted(chain.from_iterable(here))
            check_rows_of(own, tomograms, path, strange, told, advice, dataset.lists.get(own))


def check_rows_of(
    own: str,
    tomograms: Collection[str | None],
    path: str | Path,
    unknown: Iterable[str],
    told: RowsTold,
    advice: str,
    then: str | None = None,
) -> None:
    """Do the same for the list ``own`` of some ``tomograms``; ``advice`` says what to do instead.

    ``then`` is its `rows_of` where that was taken earlier.
    """
    stray = next((name for name in unknown if "/" in name and name.rpartition("/")[0] in tomograms), None)
    if stray is not None:
        refuse(path, f"names '{stray}', which is no row of {own}, so that its ids are of another list: {advice}")
    known = told.rows(own)
    now = (then or rows_of(own)) if known else None
    if now and agree(own, now, known):
        return
    if now and told.names(own):
        refuse(
            path,
            f"goes by the rows of {own} as they were when this was said of them; the list, or what was cut out at it, "
            "has other particles, or in another order: restore it, or label, predict or cluster anew",
        )
    same = {file: False if now else _same_rows(file, own) for file in sorted(told.lists)}
    other = next((file for file, answer in same.items() if answer is False), None)
    if other is not None and True not in same.values():
        refuse(path, f"goes by the rows of {other}, and the data by those of {own}, which differ: {advice}")


def _same_rows(one: str, other: str) -> bool | None:
    """Tell whether two lists are one but for what they say of their particles; None where one of them is no list."""
    if not (os.path.isfile(one) and os.path.isfile(other)):
        return None
    if os.path.samefile(one, other):
        return True
    first, second = rows_of(one), rows_of(other)
    if first is None or second is None:
        return None
    return agree(one, second, [first]) or agree(other, second, [first])
