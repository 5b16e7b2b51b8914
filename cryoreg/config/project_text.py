"""The text of a project file: a new one, and what is added to one that a user wrote."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from cryoreg.config.layers import parse_toml
from cryoreg.config.project import PROJECT_FILE, Of, Project, find_project, shown_path
from cryoreg.errors import ConfigError
from cryoreg.files import read_settings, write_text

Values = Mapping[str, object]
_HEAD = """\
# What is true of this project's files, said once: all cryoreg commands in this folder and below read it.
# Paths are relative to this file. What a command line says goes before. Unknown? Leave it out, as lines with # are.
"""
_GENERAL = {
    "classes": (["ribosome", "proteasome"], "names of the classes, for `cryoreg label`"),
    "weights": ("rb3d_universe", "what to start from: trained weights by name, or a path"),
}
_FACTS = {
    "path": ("tomograms", "the folder, or the only file"),
    "voxel_size": (10.0, "Å per voxel, where the files do not say"),
    "contrast": ("dark", 'how density looks in the files: "dark" or "bright"'),
    "tilt_range": ([-60.0, 60.0], "smallest and largest tilt, degrees"),
    "tilt_axis": ("y", 'the axis of the tilt series, the beam being z: "x" or "y"'),
    "overrule": (True, "where it is the files that are wrong"),
}
"""Key -> an example, and what it means."""
_WIDTH = 40


def begin(folder: Path, general: Values, tables: Mapping[Of, Values]) -> Path:
    """Write a new project file; raise `ConfigError` where there is one: it is the user's to change.

    Each table's ``path`` is as the user says it, relative to the working directory.
    """
    file = folder / PROJECT_FILE
    if os.path.lexists(file):
        raise ConfigError(f"{shown_path(file)}: is there already, and yours to change: open it in an editor")
    parts = [_HEAD, _lines(_GENERAL, {key: value for key, value in general.items() if value})]
    for table in tables or {"tomograms": {}}:
        given = _relative(file, tables.get(table, {}))
        header = f"[{table}]" if given else f"# [{table}]"
        parts.append(f"{header}\n{_lines(_FACTS, given)}")
    text = "\n".join(parts)
    Project.of(file, parse_toml(text))
    write_text(file, text)
    return file


def add(file: Path, table: Of, values: Values, by: str) -> list[str]:
    """Add to a project file what it does not say of a table's files; return the keys that were added.

    Whatever stands in it stays. Nothing is added where it tells of other files, or where that is not sure.
    """
    text = read_settings(file, ConfigError)
    before = parse_toml(text)
    old, given = before.get(table, {}), _relative(file, values)
    if "path" in old and not _same(file, old["path"], given["path"]):
        return []
    if any(old[key] != _plain(value) for key, value in given.items() if key in old and key not in ("path", "overrule")):
        given.pop("overrule", None)  # under which what the file says otherwise would hold, too
    new = {key: value for key, value in given.items() if key not in old}
    lines = [f"{key} = {_toml(value)}".ljust(_WIDTH) + f"  # by `cryoreg {by}`\n" for key, value in new.items()]
    changed = _with_lines(text, table, lines, table in before)
    if not new or changed is None or parse_toml(changed) != {**before, table: {**old, **new}}:
        return []
    write_text(file, changed)
    return [*new]


def remember(table: Of, values: Values, output: Path, by: str) -> str | None:
    """Keep what a command was told, or found out, of files, in the project file; return a line on it, None without.

    A new one is begun in the working directory, where the command's ``output`` lies in it or below.
    """
    if "path" not in values:
        return None
    project, here = find_project(), Path.cwd()
    try:
        if project is not None:
            added = add(project.file, table, values, by)
            return f"{project.shown} learnt {', '.join(added)} from `cryoreg {by}`" if added else None
        if not output.absolute().is_relative_to(here):
            return None
        over = ", over what the files say" if values.get("overrule") else ""
        return f"{shown_path(begin(here, {}, {table: values}))}, facts for the commands that follow{over}; look at it"
    except OSError:
        return None


def _same(file: Path, one: object, other: object) -> bool:
    return all(isinstance(path, str) for path in (one, other)) and os.path.realpath(
        file.parent / str(one)
    ) == os.path.realpath(file.parent / str(other))


def _relative(file: Path, values: Values) -> dict[str, object]:
    """Return values, with a path relative to the project file where it lies below or beside it."""
    given = {key: value for key, value in values.items() if value is not None}
    if "path" in given:
        path = os.path.abspath(str(given["path"]))
        relative = os.path.relpath(path, file.parent.absolute())
        given["path"] = path if relative.startswith("../..") else relative
    return given


def _lines(known: Mapping[str, tuple[object, str]], given: Values) -> str:
    rows = []
    for key, (example, meaning) in known.items():
        line = f"{key} = {_toml(given.get(key, example))}"
        rows.append(f"{'' if key in given else '# '}{line}".ljust(_WIDTH) + f"  # {meaning}\n")
    return "".join(rows)


def _toml(value: object) -> str:
    """Write a text, a number or a list of them as TOML, of whose texts those of JSON are some."""
    return json.dumps(_plain(value), ensure_ascii=False, default=str)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _with_lines(text: str, table: str, lines: list[str], there: bool) -> str | None:
    """Return a text with lines below the header of a table, or with a new table at the end; None where it has none."""
    if not there:
        return f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}\n[{table}]\n{''.join(lines)}"
    header = re.search(rf"^[ \t]*\[[ \t]*{table}[ \t]*\][^\n]*(\n|\Z)", text, re.MULTILINE)
    if header is None:
        return None
    head = text[: header.end()]
    return f"{head}{'' if head.endswith(chr(10)) else chr(10)}{''.join(lines)}{text[header.end() :]}"
