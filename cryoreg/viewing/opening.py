"""`cryoreg open`: the viewer, its files, its start."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cryoreg import registry
from cryoreg.errors import BrokenComponentError, ConfigError, CryoregError
from cryoreg.files import cache_folder
from cryoreg.outputs import check_folder, filling
from cryoreg.seams import Shown, Viewer

if TYPE_CHECKING:
    from cryoreg.viewing.sources import Told

Say = Callable[[str], object]


def run_open(
    source: Path,
    viewer: str | None,
    told: Told,
    tomogram: str | None = None,
    output: Path | None = None,
    files_only: bool = False,
    overwrite: bool = False,
    say: Say = lambda line: None,
    tell: Say = lambda line: None,
) -> Path | None:
    """Show the particles of a source in one of their tomograms, or with ``files_only`` write all files for a viewer.

    ``viewer`` is a registered name; without it, the first one is taken whose program is on the PATH. Returns the folder
    of files that were asked for; ``say`` gets lines on what is shown, ``tell`` on what was assumed. Raises a
    `CryoregError`, one line, before any work where there is no viewer, and where the source is at fault.
    """
    from cryoreg.viewing.sources import open_source

    name, chosen = choose_viewer(viewer, files_only)
    folder = output or (Path(f"{source.resolve().stem}_{name}") if files_only else _scratch(source, name))
    if output is not None or files_only:
        check_folder(folder, overwrite, [source])
    shown = _chosen(source, open_source(source, told, tell), tomogram, all_=files_only and tomogram is None)
    for each in shown:
        say(f"{each.name}  {len(each.places):,} particles{_legend(each)}")
    commands = _write(chosen, shown, folder)
    if files_only:
        for command in commands:
            say(f"next      {shlex.join(command)}")
        return folder
    for command in commands:
        _start(chosen, command)
    return output


def choose_viewer(name: str | None, files_only: bool) -> tuple[str, Viewer]:
    """Return a viewer and its name; raise `ConfigError` where its program, or that of any, is not on the PATH."""
    if name is not None:
        viewer = _viewer(registry.find("viewers", name))
        if not files_only and _program(viewer) is None:
            raise ConfigError(
                f"{viewer.programs[0]} is not on the PATH: {viewer.install}; or write its files with --files-only"
            )
        return name.rpartition(":")[2], viewer
    known = dict(_known())
    for reference, viewer in known.items():
        if _program(viewer) is not None:
            return reference.rpartition(":")[2], viewer
    if files_only:
        raise ConfigError(f"--files-only: for which viewer? say --viewer {' or '.join(known)}")
    told = "; ".join(f"for {reference}, {viewer.install}" for reference, viewer in known.items())
    raise ConfigError(f"no viewer is on the PATH: {told}; packages bring others: pip install cryoreg-napari")


def _known() -> Iterator[tuple[str, Viewer]]:
    """Yield the viewers that can be loaded; `cryoreg doctor` tells of others."""
    for component in registry.components("viewers"):
        with suppress(BrokenComponentError):
            yield component.reference, _viewer(component)


def _viewer(component: registry.Component) -> Viewer:
    make = component.part()
    with component.running():
        viewer: Viewer = make()
    return viewer


def _program(viewer: Viewer) -> str | None:
    return next((path for name in viewer.programs if (path := shutil.which(name))), None)


def _scratch(source: Path, viewer: str) -> Path:
    """Return a folder for files that only one look needs: the next look at the same source replaces them."""
    place = os.fspath(source.resolve())
    folder = (
        cache_folder() / "open" / f"{source.resolve().stem}-{zlib.crc32(place.encode(errors='replace')):08x}-{viewer}"
    )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _chosen(source: Path, shown: Sequence[Shown], tomogram: str | None, all_: bool) -> Sequence[Shown]:
    """Return what is of one tomogram, by default that with the most particles, or everything."""
    from cryoreg.datasets.tomograms.telling_apart import named_so

    if all_:
        return shown
    if tomogram is None:
        return [max(shown, key=lambda each: len(each.places))]
    meant = named_so(tomogram, {os.fspath(each.tomogram): each.name for each in shown})
    found = [each for each in shown if each.name in meant]
    if not found:
        there = ", ".join(each.name for each in shown[:20])
        raise ConfigError(f"{source}: has no particles in a tomogram '{tomogram}' (there are: {there})")
    return found


def _legend(shown: Shown) -> str:
    named = [name for name in shown.colours if name and name in shown.classes]
    return f" of {', '.join(named)}" if named else ""


def _write(viewer: Viewer, shown: Sequence[Shown], folder: Path) -> list[list[str]]:
    """Write the files of all, and return the commands, with the names that the files have in the end."""
    with filling(folder) as part:
        made = [command for each in shown for command in viewer.prepare(each, part)]
        written = os.fspath(part)
    final = os.fspath(folder)
    return [[word.replace(written, final) for word in command] for command in made]


def _start(viewer: Viewer, command: Sequence[str]) -> None:
    name = command[0]
    path = _program(viewer) if name == viewer.programs[0] else shutil.which(name)
    if path is None:
        raise ConfigError(f"{name} is not on the PATH: {viewer.install}")
    try:
        done = subprocess.run([path, *command[1:]], check=False)
    except OSError as error:
        raise CryoregError(f"{path}: cannot be started ({error.strerror})") from error
    if done.returncode != 0:
        raise CryoregError(f"{shlex.join(command)}: ended with {done.returncode}")
