"""What installers left behind: folders that are gone, entry points of yesterday, a package recorded twice."""

from __future__ import annotations

import os
import shlex
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryoreg import registry, version
from cryoreg.diagnosis.finding import Finding, ok, problem, warning
from cryoreg.registry import HOME
from cryoreg.registry.discovery import GROUP_PREFIX, Distribution, distributions, packages
from cryoreg.registry.provenance import source_of

Entries = set[tuple[str, str, str]]
"""(group, name, target) of entry points."""


def check() -> Iterator[Finding]:
    """Yield how cryoreg is installed, and what is stale or recorded twice."""
    here = packages()
    yield from _home(here)
    for distribution in here.values():
        yield from stale(distribution)
    yield from dead_paths()
    yield from duplicates()


def _home(here: dict[str, Distribution]) -> Iterator[Finding]:
    if HOME not in here:
        yield problem(
            f"cryoreg {version.__version__} runs from {_folder()} without being installed, so it finds no component",
            "python -m pip install cryoreg, or in a checkout: python -m pip install -e .",
        )
        return
    found = here[HOME]
    yield ok(f"cryoreg {version.__version__}, plugin API {version.PLUGIN_API}, {source_of(found.info)}")
    if found.version != version.__version__:
        yield problem(
            f"the code of cryoreg in {_folder()} is {version.__version__}, but {found.version} is installed",
            f"python -m pip install {_reinstall(found)}",
        )


def _folder() -> Path:
    return Path(version.__file__).parent


def _reinstall(distribution: Distribution) -> str:
    """Return what follows `pip install` to install a package again from where it came."""
    source = source_of(distribution.info)
    if source.how == "editable":
        return f"-e {shlex.quote(source.place)}"
    return f"--force-reinstall --no-deps {distribution.name}"


def stale(distribution: Distribution) -> Iterator[Finding]:
    """Yield a problem where an editable install's folder is gone, or declares other entry points than were recorded."""
    source = source_of(distribution.info)
    if source.how != "editable":
        return
    if not os.path.isdir(source.place):
        yield problem(
            f"{distribution.name} {distribution.version} is an editable install of {source.place}, which is gone",
            f"python -m pip uninstall {distribution.name}, or install it again from where it is now",
        )
        return
    declared = declared_entries(Path(source.place, "pyproject.toml"))
    recorded = {
        (candidate.group, candidate.name, candidate.target)
        for candidate in registry.installed()
        if candidate.info == distribution.info
    }
    if declared is not None and declared != recorded:
        yield problem(
            f"the entry points of {distribution.name} {distribution.version} are not those of {source.place}: "
            + ", ".join(_changes(recorded, declared)),
            f"python -m pip install {_reinstall(distribution)}",
        )


def declared_entries(pyproject: Path) -> Entries | None:
    """Return the entry points of cryoreg's groups in a pyproject.toml; None where it is not what decides them."""
    try:
        project: Any = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
        if "entry-points" in project.get("dynamic", []):
            return None
        groups = project.get("entry-points", {})
        return {
            (group.removeprefix(GROUP_PREFIX), name, target)
            for group, entries in groups.items()
            if group.startswith(GROUP_PREFIX)
            for name, target in entries.items()
        }
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _changes(recorded: Entries, declared: Entries) -> Iterator[str]:
    before, now = ({f"{group}.{name}" for group, name, _ in entries} for entries in (recorded, declared))
    moved = {f"{group}.{name}" for group, name, _ in recorded ^ declared} & before & now
    for what, names in (("new", now - before), ("gone", before - now), ("moved", moved)):
        if names:
            yield f"{what} {' '.join(sorted(names))}"


def dead_paths() -> Iterator[Finding]:
    """Yield a warning for each line of a .pth file that names a folder which is gone."""
    for folder in dict.fromkeys(sys.path):
        for file in sorted(Path(folder or os.curdir).glob("*.pth")):
            for line in _paths_of(file):
                if not (file.parent / line).exists():
                    yield warning(
                        f"{file} adds {line} to Python's path, which is gone",
                        "reinstall the package that it was for, or delete that file",
                    )


def _paths_of(file: Path) -> Iterator[str]:
    """Yield the folders that a .pth file adds; its other lines are comments and code."""
    try:
        lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        if line.strip() and not line.startswith(("#", "import ", "import\t")):
            yield line.rstrip()


def duplicates() -> Iterator[Finding]:
    """Yield a problem for each package that one folder records twice, and a warning for plugins that hide others."""
    found: dict[str, list[Distribution]] = defaultdict(list)
    for distribution in distributions(dict.fromkeys(sys.path)):
        found[distribution.name].append(distribution)
    yield from _impostors(found.pop(HOME, []))
    ours = set(registry.plugins())
    for name, copies in sorted(found.items()):
        folders = [os.path.dirname(copy.info) for copy in copies]
        if len(set(folders)) < len(folders):
            yield problem(
                f"{name} is recorded more than once in {folders[0]}: {_versions(copies)}",
                f"python -m pip uninstall {name}, once for each, then install it again",
            )
        elif len(copies) > 1 and name in ours:
            yield warning(
                f"{name} {copies[0].version} in {folders[0]} hides {copies[1].version} in {folders[1]}",
                "uninstall the one that you do not mean",
            )


def _impostors(homes: list[Distribution]) -> Iterator[Finding]:
    """Yield a warning for each package that is called cryoreg, but is not the one that runs."""
    running = packages().get(HOME)
    for home in homes:
        if running and home != running:
            yield warning(
                f"{home.info} calls itself cryoreg {home.version}, but is not what runs in {_folder()}; it is ignored",
                f"delete {home.info}",
            )


def _versions(copies: list[Distribution]) -> str:
    return " and ".join(os.path.basename(copy.info) for copy in copies)
