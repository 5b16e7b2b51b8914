"""From particle lists to lists of those particles that are wanted."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from cryoreg.datasets.io import relion
from cryoreg.datasets.particles.lists import lists_of_folder
from cryoreg.datasets.tilt_stacks.files import find_files
from cryoreg.errors import ConfigError, DataError
from cryoreg.files import write_text
from cryoreg.inference.optimisation_sets import set_beside, set_text
from cryoreg.outputs import check_files
from cryoreg.selection.listed import Listed
from cryoreg.selection.masking import check_columns, with_columns
from cryoreg.selection.merging import merge, notes_on_names
from cryoreg.selection.rules import Chosen, Rules, choose

Split = Literal["class", "tomogram"]
_NO_NAME = re.compile(r"[^\w.+-]+")
"""What file names do without."""


class Selected(NamedTuple):
    """What `run_select` has done."""

    chosen: Chosen
    files: dict[Path, int]
    """What was written, and how many particles are in it."""
    sets: tuple[Path, ...] = ()
    """The optimisation set of each file, where the first list was that of one."""


def run_select(
    paths: Sequence[Path],
    rules: Rules,
    output: Path,
    split: Split | None = None,
    overwrite: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> Selected:
    """Write the particles of a list that rules keep; of several lists, or a folder's, as one that begins as the first.

    Whatever the list holds stays as it is, character by character, but for the rows that are left out and the columns
    that masks add. With ``split`` each class or tomogram gets a file of its own, OUTPUT_NAME. Of an optimisation set,
    the list is chosen from, and a set is written beside each file. ``say`` gets lines on what was assumed. Raises a
    `CryoregError`, one line, for any mistake, before anything is written.
    """
    inside = next((path for path in paths if path.is_dir() and path.resolve() == output.parent.resolve()), None)
    if inside is not None:
        raise ConfigError(f"{output}: would be one more list of {inside}, from which it is chosen; write it elsewhere")
    paths = [each for path in paths for each in (_lists_of(path) if path.is_dir() else [path])]
    if output.suffix.lower() != paths[0].suffix.lower():
        raise ConfigError(f"{output}: a selection of {paths[0]} is as that is; name it {paths[0].suffix}")
    lists = [Listed.read(str(path)) for path in paths]
    if len({Path(each.path).resolve() for each in lists}) < len(lists):
        raise ConfigError(f"{paths[0]}: a list is merged with itself; name different ones")
    _check_tomograms(lists)
    for each in lists:
        check_columns(each.path, rules.wheres)
    lists = [each.moved(output) for each in lists]
    moved = [line for each in lists for line in each.notes_on_moved(output)]
    chosen = choose(lists, rules)
    text = with_columns(merge(lists), chosen.columns)
    parts = _parts(chosen, split)
    files = {name: output.with_name(f"{output.stem}{name and '_'}{name}{output.suffix}") for name in parts}
    source = lists[0].optimisation_set
    sets = {set_beside(file): file for file in files.values()} if source else {}
    check_files([*files.values(), *sets], overwrite, [*paths, *(each.path for each in lists)])
    for line in [*chosen.notes, *notes_on_names(lists, chosen.kept), *moved]:
        say(line)
    for name, kept in parts.items():
        write_text(files[name], text.take(_rows(lists, kept)).text)
    for path, file in sets.items():
        write_text(path, set_text(Path(str(source)), file))
    return Selected(chosen, {files[name]: int(kept.sum()) for name, kept in parts.items()}, tuple(sets))


def _rows(lists: Sequence[Listed], kept: np.ndarray) -> list[bool]:
    """Return which rows of several lists stay, where particles do."""
    parts = np.split(kept, np.cumsum([len(each) for each in lists])[:-1])
    return [bool(flag) for each, part in zip(lists, parts, strict=True) for flag in each.of_rows(part)]


def _lists_of(folder: Path) -> list[Path]:
    """Return the lists of a folder of such; raise `DataError` where it is none, or where merged they lose tomograms."""
    lists = lists_of_folder(folder)
    nameless = next((each.path for each in lists if None in each.tomograms), None)
    if nameless is not None:
        raise DataError(f"{nameless}: names no tomogram, and merged with others would be of theirs; give it itself")
    return [Path(each.path) for each in lists]


def _check_tomograms(lists: Sequence[Listed]) -> None:
    """Raise `DataError` where optimisation sets that are merged name different tomograms: one is to tell of all."""
    sets = [Path(each.optimisation_set) for each in lists if each.optimisation_set]
    for other in sets[1:]:
        one, two = (Path(find_files(path).tomograms) for path in (sets[0], other))
        if one.resolve() != two.resolve():
            raise DataError(
                f"{other}: names the tomograms {two} ({relion.TOMOGRAMS_FILE}), and {sets[0]} names {one}; join the "
                "sets in RELION, or give their lists of particles"
            )


def _parts(chosen: Chosen, split: Split | None) -> dict[str, np.ndarray]:
    """Return, by what is added to the file's name, who goes into each file."""
    if split is None:
        return {"": chosen.kept}
    names = [name or "none" for name in (chosen.classes if split == "class" else chosen.tomograms)]
    parts: dict[str, np.ndarray] = {}
    spelled: dict[str, str] = {}
    for name in sorted(set(np.array(names, dtype=object)[chosen.kept])):
        short = _NO_NAME.sub("_", name)
        if short.lower() in spelled:
            raise DataError(f"'{spelled[short.lower()]}' and '{name}' would be files of one name; rename one {split}")
        spelled[short.lower()] = name
        parts[short] = chosen.kept & np.array([each == name for each in names])
    return parts
