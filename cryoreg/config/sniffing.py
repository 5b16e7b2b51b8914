"""Which reader fits a path: every registered data set is asked; nothing is guessed where several fit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from cryoreg import registry
from cryoreg.errors import BrokenComponentError, DataError, message_of
from cryoreg.files import holds_numbers, require_file
from cryoreg.folders import endings
from cryoreg.registry import Component, group_of

_RUNS = (".ckpt", ".safetensors", ".pth", ".pt", ".tar", ".toml")
_READERS = "`cryoreg list --kind dataset` shows the readers"


class Match(NamedTuple):
    """A reader that fits."""

    name: str
    """What `--dataset` takes."""
    why: str
    qualified: str
    """``dist:name``."""


class _Answers(NamedTuple):
    """What the readers say of a path."""

    matches: list[Match]
    hints: list[DataError]
    """Of readers that know the kind of thing, why they do not read this one."""
    broken: list[str]
    """Readers that could not be asked."""


def choose(path: Path, preferred: str | None = None) -> Match:
    """Return the only reader that fits, or the ``preferred`` one where it is among several.

    Raises `DataError`, one line, where none does, or several do and none of them is preferred.
    """
    matches = sniff(path)
    wanted = [match for match in matches if preferred in (match.name, match.qualified)]
    if len(wanted or matches) > 1:
        reasons = " and ".join(f"{match.why} ({match.name})" for match in matches)
        names = " or ".join(f"--dataset {match.name}" for match in matches)
        raise DataError(f"{path}: more than one reader fits, as it has {reasons}; say {names}")
    return (wanted or matches)[0]


def sniff(path: Path) -> list[Match]:
    """Return every reader that fits, at least one; raise `DataError` where none does, saying what was found."""
    _check_kind(path)
    _refuse_runs(path)
    answers = _ask_all(path)
    if answers.matches:
        return answers.matches
    unasked = f" ({', '.join(answers.broken)} cannot be asked: `cryoreg doctor`)" if answers.broken else ""
    if answers.hints:
        raise DataError(f"{answers.hints[0]}{unasked}")
    raise DataError(f"{path}: no reader fits; {_held(path)}; {_READERS}{unasked}")


def _check_kind(path: Path) -> None:
    """Refuse what is neither a file nor a folder; a device or a FIFO could be waited for without end."""
    if not os.path.lexists(path):
        raise DataError(f"{path}: no such file or directory; check the path")
    if not path.exists():
        raise DataError(f"{path}: does not exist (or is a broken link); check the path")
    require_file(path, DataError)


def _refuse_runs(path: Path) -> None:
    is_run = (path / "config.toml").is_file() if path.is_dir() else path.suffix.lower() in _RUNS
    if is_run and not holds_numbers(path):
        raise DataError(f"{path}: belongs to a run or a model, not to a data set; `cryoreg inspect` tells what it is")
    if any(path.glob("*/config.toml")):
        raise DataError(f"{path}: holds runs, not a data set; `cryoreg inspect` tells what one of them is")


def _ask_all(path: Path) -> _Answers:
    answers = _Answers([], [], [])
    for component, fits in _readers(answers.broken):
        try:
            why = fits(path)
        except DataError as error:
            answers.hints.append(error)
        except (Exception, SystemExit) as error:  # whatever the code of a plugin raises must not hide the other readers
            answers.broken.append(f"{component.qualified}, which raises {type(error).__name__}: {message_of(error)}")
        else:
            answers.matches.extend([Match(component.reference, why, component.qualified)] if why else [])
    return answers


def _readers(broken: list[str]) -> Iterator[tuple[Component, Callable[[Path], str | None]]]:
    """Yield each way of telling what fits, once: a plugin that derives from a built-in's spec has inherited it."""
    seen = set()
    found = registry.components(group_of("dataset"))
    for component in sorted(found, key=lambda component: not component.builtin):
        try:
            fits = component.spec().fits  # type: ignore[attr-defined]  # a DatasetSpec
        except BrokenComponentError:
            broken.append(component.qualified)
            continue
        asked = getattr(fits, "__func__", fits)
        if asked not in seen:
            seen.add(asked)
            yield component, fits


def _held(path: Path) -> str:
    if path.is_file():
        return f"the file ends with '{path.suffix}'" if path.suffix else "the file's name has no ending"
    found = endings(path).most_common(5)
    return "it holds " + (
        ", ".join(f"{count} {ending or 'nameless'} files" for ending, count in found) or "no files, nor do its folders"
    )
