"""What to call tomograms of which several have one name, as files in different folders may."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from cryoreg.datasets.tomograms.names import stem
from cryoreg.errors import DataError

_Folder = tuple[str, ...]


def tell_apart(names: Iterable[str], what: str) -> dict[str, str]:
    """Return what to call each named tomogram: its name without folder and ending, where that is of one folder alone.

    Where several folders have a tomogram of that name, it is called with as much of its folder as tells them apart.
    ``rec/TS_01.mrc`` and ``TS_01`` are one tomogram, and so are ``/data/rec/TS_01`` and ``rec/TS_01``. Raises
    `DataError`, which begins with ``what``, where a name may be in either of two folders.
    """
    folders = {name: _folder(name) for name in dict.fromkeys(names)}
    of_stem: dict[str, list[_Folder]] = {}
    for name, folder in folders.items():
        of_stem.setdefault(stem(name), []).append(folder)
    meant = {known: _told_apart(known, found, what) for known, found in of_stem.items()}
    return {name: meant[stem(name)][folder] for name, folder in folders.items()}


def named_so(wanted: str, called: Mapping[str, str]) -> set[str]:
    """Return which tomograms, as `tell_apart` calls them, a user means: by name, with a folder that tells or without.

    A folder that is in none of the names says nothing, where one tomogram alone is called so.
    """
    alike = {name: meant for name, meant in called.items() if stem(name) == stem(wanted)}
    near = {meant for name, meant in alike.items() if _ends(_folder(name), _folder(wanted))}
    every = set(alike.values())
    return near or (every if len(every) == 1 else set())


def _ends(one: _Folder, other: _Folder) -> bool:
    """Tell whether one folder is the end of the other's path."""
    shared = min(len(one), len(other))
    return _end(one, shared) == _end(other, shared)


def _folder(name: str) -> _Folder:
    return tuple(part for part in os.path.dirname(os.path.normpath(name)).split("/") if part)


def _told_apart(known: str, folders: Sequence[_Folder], what: str) -> Mapping[_Folder, str]:
    """Return what the tomogram ``known`` is called in each of the folders that name it."""
    whole: dict[_Folder, _Folder] = {}
    for folder in sorted(dict.fromkeys(folders), key=len, reverse=True):
        longer = {whole[other] for other in whole if _end(other, len(folder)) == folder}
        if len(longer) > 1:
            one, two = ("/".join([*each, known]) for each in sorted(longer)[:2])
            raise DataError(f"{what}: names the tomogram '{known}', which may be {one} or {two}; name its folder")
        whole[folder] = longer.pop() if longer else folder
    distinct = set(whole.values())
    depth = next(depth for depth in count() if len({_end(each, depth) for each in distinct}) == len(distinct))
    return {folder: "/".join([*_end(meant, depth), known]) for folder, meant in whole.items()}


def _end(folder: _Folder, depth: int) -> _Folder:
    return folder[len(folder) - depth :] if depth else ()
