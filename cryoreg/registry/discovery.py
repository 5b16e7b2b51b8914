"""Find what installed packages offer. The only module that imports `entrypoints`.

The library stops at the first unreadable metadata file and so hides every plugin; here such a file is reported and
the scan goes on.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import entrypoints

from cryoreg.errors import message_of
from cryoreg.registry.provenance import source_of
from cryoreg.version import __version__

GROUP_PREFIX = "cryoreg."
HOME = "cryoreg"
OWN_MODULES = (HOME, "cryoreg_cli")
RUNNING = Path(__file__).resolve().parents[2]
"""The folder that holds the package ``cryoreg`` that is running."""


class Candidate(NamedTuple):
    """One entry point of a ``cryoreg.*`` group."""

    group: str
    """The group without its prefix: "encoders", "methods", "augmentations", "datasets" or "commands"."""
    name: str
    dist: str
    """The package that declares it, as PEP 503 normalises it."""
    version: str
    target: str
    """``module:object``, not checked yet."""
    info: str
    """The folder of the package's metadata: what was found where."""

    def load(self) -> object:
        """Import the module and return the object. Whatever the plugin raises passes through."""
        return entrypoints.EntryPoint.from_string(self.target, self.name).load()


class Distribution(NamedTuple):
    """An installed package, as its metadata folder's name says."""

    name: str
    """The package's name as PEP 503 normalises it."""
    version: str
    info: str
    """The metadata folder."""


class Problem(NamedTuple):
    """Metadata that could not be read."""

    file: str
    reason: str


class Scan(NamedTuple):
    """All that was found, sorted."""

    candidates: tuple[Candidate, ...]
    problems: tuple[Problem, ...]


def canonical_name(dist: str) -> str:
    """Return a package name as PEP 503 compares it: lower case, runs of ``-_.`` as one hyphen."""
    return re.sub(r"[-_.]+", "-", dist).lower()


def scan(path: Iterable[str] | None = None) -> Scan:
    """Read the entry points of every distribution in the folders of ``path`` (default: ``sys.path``).

    As in an import, a distribution found earlier shadows one of the same name found later; but whatever calls itself
    cryoreg, what it offers are the modules of the cryoreg that runs.
    """
    candidates: list[Candidate] = []
    problems: list[Problem] = []
    for name, version, info in packages(path).values():
        file = os.path.join(info, "entry_points.txt")
        try:
            found = (Candidate(group, entry, name, version, target, info) for group, entry, target in _read(file))
            candidates += (each for each in found if name != HOME or re.split("[.:]", each.target)[0] in OWN_MODULES)
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            problems.append(Problem(file, message_of(error)))
    return Scan(tuple(sorted(candidates)), tuple(sorted(problems)))


def distributions(path: Iterable[str] | None = None) -> Iterator[Distribution]:
    """Yield every package in the folders of ``path`` (default: ``sys.path``), those that are shadowed as well."""
    for info in _metadata_folders(sys.path if path is None else path):
        yield Distribution(*_name_and_version(info), info)


def packages(path: Iterable[str] | None = None) -> dict[str, Distribution]:
    """Return name -> the package that an import finds: the first one on the path, but for cryoreg that which runs."""
    found: dict[str, Distribution] = {}
    homes = []
    for distribution in distributions(path):
        if distribution.name == HOME:
            homes.append(distribution)
        else:
            found.setdefault(distribution.name, distribution)
    own = [home for home in homes if _is_running(home)] or [home for home in homes if home.version == __version__]
    return found | {home.name: home for home in own[:1]}


def _is_running(home: Distribution) -> bool:
    """Tell whether metadata are those of the code that runs: an editable install of its folder, or of files there."""
    source = source_of(home.info)
    if source.how == "editable":
        return Path(source.place).resolve() == RUNNING
    if Path(home.info).resolve().parent != RUNNING:
        return False
    try:
        record = Path(home.info, "RECORD").read_text("utf-8", "replace")
    except OSError:  # packages of Linux distributions leave it out
        return home.version == __version__
    return f"{HOME}/__init__.py," in record


def _metadata_folders(path: Iterable[str]) -> Iterator[str]:
    for folder in path:
        try:
            names = sorted(os.listdir(folder or os.curdir))
        except OSError:  # a zip file, or a folder that is not there: nothing that we could import a plugin from
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")) and not name.startswith("~"):  # ~: pip is removing it
                yield os.path.join(folder, name)


def _name_and_version(info: str) -> tuple[str, str]:
    """Read "Foo_Bar-1.0.dist-info" or "foo-1.0-py3.11.egg-info" as ("foo-bar", "1.0")."""
    name, *rest = os.path.splitext(os.path.basename(info))[0].split("-")
    return canonical_name(name), rest[0] if rest else _recorded_version(info)


def _recorded_version(info: str) -> str:
    """Return the version that a development install without one in its folder's name records."""
    try:
        with open(os.path.join(info, "PKG-INFO"), encoding="utf-8", errors="replace") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("Version:"))
    except (OSError, StopIteration):
        return "unknown"


def _read(file: str) -> list[tuple[str, str, str]]:
    """Return (group, name, target) of each entry point of cryoreg's groups."""
    try:
        with open(file, encoding="utf-8") as lines:
            text = lines.read()
    except (FileNotFoundError, NotADirectoryError):  # most packages have no entry points; some egg-infos are files
        return []
    parser = entrypoints.CaseSensitiveConfigParser(delimiters=("=",), interpolation=None)
    parser.read_string(text, source=file)
    return [
        (group.removeprefix(GROUP_PREFIX), name, target)
        for group in parser.sections()
        if group.startswith(GROUP_PREFIX)
        for name, target in parser[group].items()
    ]
