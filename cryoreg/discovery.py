"""Find what installed packages offer. The only module that imports `entrypoints`.

The library stops at the first unreadable metadata file and so hides every plugin; here such a file is reported and
the scan goes on.
"""

from __future__ import annotations

import configparser
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import entrypoints

GROUP_PREFIX = "cryoreg."


class Candidate(NamedTuple):
    """One entry point of a ``cryoreg.*`` group."""

    group: str
    """Without the prefix: "encoders", "methods", "augmentations", "datasets" or "commands"."""
    name: str
    target: str
    """``module:object``."""
    dist: str
    """The package that declares it, normalised as pip prints it."""
    version: str

    def load(self) -> object:
        """Import the module and return the object. Whatever the plugin raises passes through."""
        return entrypoints.EntryPoint.from_string(self.target, self.name).load()


class Problem(NamedTuple):
    """Metadata that could not be read."""

    file: str
    reason: str


class Scan(NamedTuple):
    """All that was found, sorted."""

    candidates: tuple[Candidate, ...]
    problems: tuple[Problem, ...]


def normalise(dist: str) -> str:
    """Return a package name as PEP 503 compares it: lower case, runs of ``-_.`` as one hyphen."""
    return re.sub(r"[-_.]+", "-", dist).lower()


def scan(path: Iterable[str] | None = None) -> Scan:
    """Read the entry points of every distribution on ``path`` (default: ``sys.path``).

    As in an import, a distribution found earlier shadows one of the same name found later.
    """
    candidates: list[Candidate] = []
    problems: list[Problem] = []
    seen: set[str] = set()
    for file in _metadata_files(sys.path if path is None else path):
        distribution = entrypoints.Distribution.from_name_version(file.parent.stem)
        dist = normalise(distribution.name)
        if dist in seen:
            continue
        seen.add(dist)
        try:
            candidates += _read(file, dist, distribution.version or "unknown")
        except (OSError, UnicodeDecodeError, configparser.Error, entrypoints.BadEntryPoint) as error:
            problems.append(Problem(str(file), " ".join(str(error).split())))
    return Scan(tuple(sorted(candidates)), tuple(sorted(problems)))


def _metadata_files(path: Iterable[str]) -> Iterator[Path]:
    for folder in map(Path, path):
        for pattern in ("*.dist-info/entry_points.txt", "*.egg-info/entry_points.txt"):
            yield from sorted(folder.glob(pattern))


def _read(file: Path, dist: str, version: str) -> list[Candidate]:
    text = file.read_text(encoding="utf-8")
    if GROUP_PREFIX not in text:  # most packages: nothing to parse
        return []
    parser = entrypoints.CaseSensitiveConfigParser(delimiters=("=",))
    parser.read_string(text, source=str(file))
    return [
        Candidate(group.removeprefix(GROUP_PREFIX), name, _checked(target, name), dist, version)
        for group in parser.sections()
        if group.startswith(GROUP_PREFIX)
        for name, target in parser[group].items()
    ]


def _checked(target: str, name: str) -> str:
    entrypoints.EntryPoint.from_string(target, name)
    return target
