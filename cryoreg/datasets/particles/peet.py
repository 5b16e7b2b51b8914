"""PEET's motive lists (.csv): offsets, correlations and classes of the points of an IMOD model.

The columns are those that PEET names in the first line; its program alignSubset documents them. A particle is at the
point of the model plus the offset (columns 11 to 13), as createAlignedModel applies it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryoreg.datasets.io.columns import varied
from cryoreg.datasets.io.imod import read_model
from cryoreg.datasets.io.text_files import read_text_lines
from cryoreg.datasets.io.volume_files import refuse, refuse_empty
from cryoreg.datasets.particles.imod import FIRST_VOXEL, FRAME
from cryoreg.datasets.particles.particle_list import ParticleList
from cryoreg.errors import DataError

COLUMNS = 20
_NAMES = {1: "ccc", 4: "pindex", 5: "wedgewt", 11: "xoffset", 12: "yoffset", 13: "zoffset"}
_NAMES |= {17: "phi", 18: "psi", 19: "theta", 20: "class"}
_LABELS = ("class",)
_IGNORED = -9999
"""The class that removeDuplicates gives."""
_MOTIVE_LIST = re.compile(r"(?:pca_)?(?P<root>.+)_MOTL_Tom(?P<number>\d+)_Iter\d+", re.IGNORECASE)
"""What PEET calls its lists: the root of a project's output, the tomogram's number in the .prm, the iteration."""


class _Source(NamedTuple):
    """Where a list's coordinates are."""

    model: Path
    tomogram: str | None


def read_peet(path: str, unit_told: bool = False) -> ParticleList:
    """Read a motive list and the model of its points; raise `DataError` where the two do not fit each other.

    The model, and the tomogram, are those that the project's .prm beside the list names for it; without one, the model
    is the .mod of the list's name, else the only one beside it.
    """
    table = _table(path)
    source = _source(Path(path))
    model = read_model(source.model)
    places = model.points[_points_of(path, table, len(model.points), source.model)]
    offsets = table[["xoffset", "yoffset", "zoffset"]].to_numpy(np.float64)
    size = None if unit_told else model.voxel_size
    return ParticleList(
        path,
        places + offsets - FIRST_VOXEL,
        "voxel",
        [source.tomogram] * len(table),
        table.assign(**{"class": table["class"].astype(object).where(table["class"] != _IGNORED, None)}),
        varied(table, _LABELS),
        None if size is None else np.full(len(table), size),
        frame=f"{FRAME}, offsets added",
        from_corner=True,
        class_columns=_LABELS,
        image_sizes=np.tile(model.size, (len(table), 1)),
    )


def model_of(path: str | Path) -> Path | None:
    """Return the model of a motive list's points, be it there or not; None where none would be taken."""
    try:
        return _source(Path(path)).model
    except DataError:
        return None


def _table(path: str) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(read_text_lines(path, "a PEET motive list"), 1):
        cells = [cell.strip() for cell in line.strip().split(",")]
        if cells == [""] or cells[0].lower() == "ccc":
            continue
        if len(cells) != COLUMNS:
            refuse(path, f"line {number} has {len(cells)} values for the {COLUMNS} columns of PEET; mend it")
        rows.append(cells)
    if not rows:
        refuse_empty(path)
    table = pd.DataFrame(rows, columns=[_NAMES.get(number, f"column{number}") for number in range(1, COLUMNS + 1)])
    numbers = table.apply(pd.to_numeric, errors="coerce")
    bad = np.argwhere(~np.isfinite(numbers[[*_NAMES.values()]].to_numpy(np.float64)))
    if len(bad):
        row, column = bad[0]
        name = [*_NAMES.values()][column]
        refuse(path, f"has '{table[name][row]}' for {name} in row {row}, not a number; mend the row")
    return numbers


def _points_of(path: str, table: pd.DataFrame, count: int, model: Path) -> NDArray[np.int64]:
    """Return the point of each row: its place in the list where both are as many, else its pIndex, counted from 1."""
    index = table["pindex"].to_numpy(np.float64)
    rows = np.arange(1, len(table) + 1)
    if len(table) == count:
        if set(index) == set(rows) and not np.array_equal(index, rows):
            refuse(path, f"lists its particles in another order (pIndex) than {model}; sort it by pIndex")
        return rows - 1
    inside = (index == np.round(index)) & (index >= 1) & (index <= count)
    if not inside.all() or len(set(index)) < len(index):
        refuse(path, f"lists {len(table)} particles, and {model} has {count} points, to which no pIndex leads")
    return index.astype(np.int64) - 1


def _source(path: Path) -> _Source:
    for project in sorted(path.parent.glob("*.prm")):
        told = _settings(project)
        number = _number(path, told)
        models, volumes = told.get("fnModParticle", []), told.get("fnVolume", [])
        if number is not None and 0 <= number < len(models):
            return _Source(project.parent / models[number], volumes[number] if number < len(volumes) else None)
    own, others = path.with_suffix(".mod"), sorted(path.parent.glob("*.mod"))
    if own.is_file() or len(others) == 1:
        return _Source(own if own.is_file() else others[0], None)
    refuse(
        path,
        f"has offsets alone; its points are in an IMOD model, and {len(others)} lie beside it: put the project's .prm "
        f"there, or name the model {own.name}",
    )


def _settings(project: Path) -> dict[str, list[str]]:
    """Return the texts of each setting of a .prm: name = 'text' or name = {'text', 'text'}, over several lines."""
    lines = read_text_lines(project, "a PEET parameter file")
    text = "".join(line for line in lines if not line.lstrip().startswith("#"))
    found = re.findall(r"^[ \t]*(\w+)\s*=\s*(\{[^}]*\}|'[^'\n]*')", text, re.MULTILINE)
    return {name: re.findall(r"'([^'\n]*)'", value) for name, value in found}


def _number(path: Path, told: Mapping[str, list[str]]) -> int | None:
    """Return the place in a project's lists, from 0, of the tomogram that a motive list is of; None where of none."""
    first = [Path(name).name for name in told.get("initMOTL", [])]
    if path.name in first:
        return first.index(path.name)
    named = _MOTIVE_LIST.fullmatch(path.stem)
    if named is None or told.get("fnOutput") != [named["root"]]:
        return None
    return int(named["number"]) - 1
