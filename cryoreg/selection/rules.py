"""Which particles stay: rule after rule, each with the reason why others do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoreg.config import Project
from cryoreg.datasets.io.columns import natural_order
from cryoreg.datasets.io.voxel_sizes import same_size
from cryoreg.datasets.readers.listed_places import ListedPlaces, listed_places, tells_of
from cryoreg.datasets.rows_of_lists import CHOICE, RowsTold, agree, check_rows_of, rows_of
from cryoreg.datasets.tomograms.masks import Marks, Where
from cryoreg.datasets.tomograms.matching import bare
from cryoreg.datasets.tomograms.telling_apart import named_so, tell_apart
from cryoreg.errors import ConfigError, DataError
from cryoreg.picking.suppression import suppress
from cryoreg.selection import listed
from cryoreg.selection.distances import Distance, positions
from cryoreg.selection.listed import Floats, Listed
from cryoreg.selection.masking import measure, prefix_of

Flags = NDArray[np.bool_]
Marked = Literal["keep", "drop", "only"]
"""What becomes of particles with a mark."""


class Rules(NamedTuple):
    """What stays; each rule that is not given keeps everything."""

    classes: tuple[str, ...] = ()
    """Names or numbers."""
    class_column: str | None = None
    min_confidence: float | None = None
    min_familiarity: float | None = None
    unsure: Marked = "keep"
    none_of_these: Marked = "keep"
    tomograms: tuple[str, ...] = ()
    ids: frozenset[str] | None = None
    distance: Distance | None = None
    """No two of a tomogram are nearer."""
    coordinate_size: float | None = None
    """Å per unit of the coordinates."""
    per_tomogram: int | None = None
    """The best so many of each."""
    wheres: tuple[Where, ...] = ()
    """Masks that keep, drop or mark by distance."""
    tomogram_files: Path | None = None
    """The folder of the tomograms that masks belong to, where it is not beside the list."""
    voxel_size: float | None = None
    """Å, of the tomograms."""
    project: Project | None = None
    """It says of the tomograms what is not said here."""
    rows_of_ids: RowsTold = RowsTold()
    """By the rows of which lists ids go, as far as files of ids say so."""


class Chosen(NamedTuple):
    """What `choose` says of N particles."""

    kept: Flags
    classes: list[str | None]
    tomograms: list[str | None]
    reasons: dict[str, int]
    """Why particles were left out, and how many; one counts for the first rule that it breaks."""
    notes: list[str]
    columns: Mapping[str, list[str]] = {}
    """What masks mark, for all particles: the name of a column, and its values as text."""

    def counts(self) -> list[tuple[str | None, int, int]]:
        """Return class, listed and kept, for each class; None, and last, for those that have none."""
        before, after = Counter(self.classes), Counter(np.array(self.classes, dtype=object)[self.kept].tolist())
        names = sorted(before, key=lambda name: (name is None, natural_order(name or "")))
        return [(name, before[name], after[name]) for name in names]

    def summary(self) -> list[tuple[str, int, int]]:
        """Return the same in words."""
        return [(name or "(no class)", before, after) for name, before, after in self.counts()]


class _Choice:
    """The particles of some lists, from which rules take away."""

    def __init__(self, lists: Sequence[Listed], rules: Rules) -> None:
        self.lists, self.rules = lists, rules
        self.notes: list[str] = []
        self.classes = [name for each in lists for name in each.classes(rules.class_column)]
        named = [name for each in lists for name in each.tomograms]
        self.called = tell_apart((name for name in named if name), self.paths())
        self.tomograms = [self.called[name] if name else None for name in named]
        self.kept = np.ones(sum(len(each) for each in lists), dtype=bool)
        self.columns: dict[str, list[str]] = {}
        self._places: dict[str, ListedPlaces] = {}

    def places(self, path: str) -> ListedPlaces:
        """Return where the particles of a list lie in their tomograms; what a project says of these is taken down."""
        if path not in self._places:
            rules = self.rules
            told = rules.tomogram_files, rules.voxel_size, rules.coordinate_size
            self._places[path] = listed_places(path, *told, rules.project)
            self.notes += [note for line in self._places[path].notes if (note := f"note: {line}") not in self.notes]
        return self._places[path]

    def unit_sizes(self, path: str) -> Floats | None:
        """Return Å per unit of a list's coordinates, (N,), where the user or a project tells of its tomograms."""
        rules = self.rules
        told = rules.tomogram_files is not None or rules.voxel_size is not None
        return self.places(path).unit_sizes() if told or tells_of(rules.project, path) else None

    def figures(self, names: Sequence[str], what: str) -> Floats:
        return np.concatenate([each.figures(names, what) for each in self.lists])

    def shares(self, names: Sequence[str], what: str) -> Floats:
        return np.concatenate([each.shares(names, what) for each in self.lists])

    def paths(self) -> str:
        return ", ".join(each.path for each in self.lists)


def choose(lists: Sequence[Listed], rules: Rules) -> Chosen:
    """Apply rules to the particles of one list or of several, one after another.

    Raises a `CryoregError`, one line, where a list does not know what a rule asks for, and where nothing is left.
    """
    choice = _Choice(lists, rules)
    reasons: dict[str, int] = {}
    for reason, stays in _passes(choice):
        lost = choice.kept & ~stays
        reasons[reason] = int(lost.sum())
        choice.kept &= stays
    if not choice.kept.any():
        told = "; ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
        raise DataError(f"{choice.paths()}: of {len(choice.kept)} particles none is left ({told}); choose otherwise")
    reasons = {reason: count for reason, count in reasons.items() if count}
    return Chosen(choice.kept, choice.classes, choice.tomograms, reasons, choice.notes, choice.columns)


def _passes(choice: _Choice) -> Iterator[tuple[str, Flags]]:
    """Yield a reason to be left out and who stays; those that rank come last, as they look at who is left."""
    rules = choice.rules
    if rules.ids is not None:
        yield "not among --ids", _by_id(choice, rules.ids, rules.rows_of_ids)
    if rules.tomograms:
        yield "of other tomograms", _by_tomogram(choice, rules.tomograms)
    if rules.classes:
        yield "of other classes", _by_class(choice, rules.classes)
    yield from _by_figure(choice, rules.min_confidence, listed.CONFIDENCE, "confidence")
    yield from _by_figure(choice, rules.min_familiarity, listed.FAMILIARITY, "familiarity")
    yield from _by_mark(choice, rules.unsure, listed.UNSURE, "unsure")
    yield from _by_mark(choice, rules.none_of_these, listed.NONE_OF_THESE, "none of these")
    yield from _by_mask(choice, rules)
    if rules.distance is not None:
        yield f"less than {rules.distance} from a better one", _apart(choice, rules.distance)
    if rules.per_tomogram is not None:
        yield f"not among the best {rules.per_tomogram} of their tomogram", _best(choice, rules.per_tomogram)


def _by_id(choice: _Choice, wanted: frozenset[str], told: RowsTold) -> Flags:
    ids = [_ids_as_said(each, wanted, told) for each in choice.lists]
    names = [*chain.from_iterable(ids)]
    unknown = sorted(wanted - set(names))
    _check_one_list(choice, ids, wanted)
    for each, own in zip(choice.lists, ids, strict=True):
        tomograms = {name.rpartition("/")[0] for name in own}
        if each.by_rows and tomograms & {name.rpartition("/")[0] for name in wanted}:
            check_rows_of(each.path, tomograms, "--ids", unknown, told, CHOICE)
    if len(unknown) == len(wanted):
        raise ConfigError(f"{choice.paths()}: has none of the {len(wanted)} --ids (its first is '{names[0]}')")
    if unknown:
        choice.notes.append(f"note: {len(unknown)} of {len(wanted)} --ids are not listed (the first: {unknown[0]})")
    return np.array([name in wanted for name in names])


def _ids_as_said(list_: Listed, wanted: frozenset[str], told: RowsTold) -> list[str]:
    """Return the ids of a list; where it names no tomogram, those of the one that it is called as, where it is meant.

    That is one which ids are ``wanted`` of, or, whatever the list is called, the only one, where its rows are ``told``.
    """
    ids = list_.ids()
    if not list_.by_rows or any(list_.tomograms):
        return ids
    tomograms = {name.rpartition("/")[0] for name in wanted if "/" in name}
    called = {name for name in tomograms if bare(name) == bare(Path(list_.path).stem)}
    now = None if called else rows_of(list_.path)
    meant = tomograms if now and agree(list_.path, now, told.rows(list_.path)) else called
    return [f"{tomogram}/{row}" for tomogram in meant for row in ids] if len(meant) == 1 else ids


def _check_one_list(choice: _Choice, ids: Sequence[Sequence[str]], wanted: frozenset[str]) -> None:
    """Raise `ConfigError` where an id is a row of two lists, and so two particles; of images it is one, in both."""
    found: dict[str, str] = {}
    for each, own in zip(choice.lists, ids, strict=True):
        for name in {*own} & wanted if each.by_rows else ():
            if name in found:
                raise ConfigError(
                    f"--ids {name}: is a row of {found[name]} and one of {each.path}, so two particles; choose from "
                    "each list before they are merged"
                )
            found[name] = each.path


def _by_tomogram(choice: _Choice, wanted: Sequence[str]) -> Flags:
    meant = {name: named_so(name, choice.called) for name in wanted}
    found = {name for name, tomograms in meant.items() if tomograms}
    _check_known(choice, wanted, found, "tomogram", {*choice.called.values()})
    names = set[str | None]().union(*meant.values())
    return np.array([name in names for name in choice.tomograms])


def _by_class(choice: _Choice, wanted: Sequence[str]) -> Flags:
    """Keep classes by their names, and by their numbers where those are no names."""
    names = {name for name in choice.classes if name}
    found = [number for each in choice.lists for number in each.class_numbers()]
    numbers = {number for number in found if number} - names
    _check_known(choice, wanted, names | numbers, "class", names)
    _note_renamed(choice, found)
    known = {*wanted} & numbers
    return np.array([name in wanted or one in known for name, one in zip(choice.classes, found, strict=True)])


def _note_renamed(choice: _Choice, numbers: Sequence[str | None]) -> None:
    """Say where a class's name has several numbers: names and numbers are then of two classifications."""
    told: dict[str, set[str]] = {}
    for name, number in zip(choice.classes, numbers, strict=True):
        if name and number and name != number:
            told.setdefault(name, set()).add(number)
    for name, those in told.items():
        if len(those) > 1:
            listed_numbers = ", ".join(sorted(those, key=natural_order)[:5])
            choice.notes.append(
                f"note: class '{name}' has several numbers ({listed_numbers}), as where names are of an older "
                "classification: --class-column says which column is meant"
            )
            return


def _check_known(
    choice: _Choice, wanted: Sequence[str] | set[str], known: set[str], what: str, named: set[str] | None = None
) -> None:
    unknown = sorted(set(wanted) - known)
    if unknown:
        there = ", ".join(sorted(known if named is None else named, key=natural_order)[:20]) or "none"
        raise ConfigError(f"{choice.paths()}: has no {what} '{unknown[0]}' (there are: {there})")


def _by_figure(choice: _Choice, least: float | None, columns: Sequence[str], what: str) -> Iterator[tuple[str, Flags]]:
    if least is not None:
        yield f"with {what} below {least:g}", choice.shares(columns, what) >= least


def _by_mark(choice: _Choice, mark: Marked, columns: Sequence[str], what: str) -> Iterator[tuple[str, Flags]]:
    """Keep or drop what is marked 1; -1 is what nobody knows, which is not dropped, and said."""
    if mark == "keep":
        return
    marks = choice.figures(columns, what)
    unknown = int((marks < 0).sum())
    if unknown:
        choice.notes.append(f"note: of {unknown} particles it is not known whether they are {what}")
    yield (what, marks != 1) if mark == "drop" else (f"not {what}", marks == 1)


def _by_mask(choice: _Choice, rules: Rules) -> Iterator[tuple[str, Flags]]:
    """Yield what masks of the tomograms keep or drop, and take down what they mark."""
    if not rules.wheres:
        return
    found, notes = zip(*(measure(choice.places(each.path), rules.wheres) for each in choice.lists), strict=True)
    choice.notes += [f"note: {note}" for note in dict.fromkeys(chain.from_iterable(notes))]
    for where, *parts in zip(rules.wheres, *found, strict=True):
        marks = Marks(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        if where.verb == "mark":
            choice.columns |= marks.columns(where.name, prefix_of(choice.lists[0].path))
        else:
            yield (f"not {where}", marks.within) if where.verb == "keep" else (str(where), ~marks.within)


def _scores(choice: _Choice) -> Floats:
    """Return what says which particle is better: the first column that all lists have; else the order of the list."""
    for names in ((name,) for name in listed.SCORES):
        if all(each.column(names) for each in choice.lists):
            choice.notes.append(f"note: of two, the one with the higher {names[0]} is better")
            return choice.figures(names, names[0])
    choice.notes.append("note: nothing says which particle is better: the earlier one of the list is kept")
    return np.zeros(len(choice.kept))


def _within(choice: _Choice, keep: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> Flags:
    """Return whom ``keep`` keeps among those that are left in each tomogram, by number."""
    if not all(choice.tomograms):
        lacking = choice.tomograms.count(None)
        choice.notes.append(f"note: {lacking} particles name no tomogram, and are taken to be of one")
    stays = np.zeros(len(choice.kept), dtype=bool)
    names = np.array([name or "" for name in choice.tomograms], dtype=object)
    for name in dict.fromkeys(names[choice.kept]):
        rows = np.flatnonzero(choice.kept & (names == name))
        stays[keep(rows)] = True
    return stays


def _apart(choice: _Choice, distance: Distance) -> Flags:
    size = choice.rules.coordinate_size
    found = [
        positions(each.path, distance, size, each.optimisation_set, partial(choice.unit_sizes, each.path))
        for each in choice.lists
    ]
    places = np.concatenate([each.places for each in found])
    if distance.in_voxels:
        _check_voxels(choice, np.concatenate([each.sizes for each in found]))
    _note_strangers(choice)
    scores = _scores(choice)
    return _within(choice, lambda rows: rows[suppress(places[rows], scores[rows], distance.length)])


def _check_voxels(choice: _Choice, sizes: Floats) -> None:
    """Raise `DataError` where coordinates in one tomogram count voxels of several sizes, 0 where that is not told."""
    known: dict[str | None, float] = {}
    for name, size in dict.fromkeys(zip(choice.tomograms, sizes.tolist(), strict=True)):
        if not same_size(known.setdefault(name, size), size):
            told = " and ".join(f"{each:g} Å" if each else "an untold size" for each in (known[name], size))
            raise DataError(
                f"{choice.paths()}: coordinates in '{name}' count voxels of {told}, in which no distance can be; give "
                "it in Å: --distance 120A"
            )


def _note_strangers(choice: _Choice) -> None:
    """Say where lists that are merged name no tomogram alike, so that no two of their particles are compared."""
    ends = np.cumsum([len(each) for each in choice.lists])[:-1].tolist()
    names = [set(choice.tomograms[begin:end]) for begin, end in pairwise([0, *ends, len(choice.tomograms)])]
    for each, own in zip(choice.lists[1:], names[1:], strict=True):
        if None not in own | names[0] and not own & names[0]:
            one, two = (min(filter(None, some)) for some in (names[0], own))
            choice.notes.append(
                f"note: no tomogram is in both {choice.lists[0].path} and {each.path} ('{one}', '{two}', ...): their "
                "particles are not compared"
            )


def _best(choice: _Choice, count: int) -> Flags:
    scores = _scores(choice)
    return _within(choice, lambda rows: rows[np.argsort(-scores[rows], kind="stable")[:count]])
