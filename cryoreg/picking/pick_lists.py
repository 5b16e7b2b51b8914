"""Picks as particle lists: a STAR file for RELION and its kin, and CSV for everything else.

Coordinates are voxels of the tomogram that was picked, x y z, and the first voxel is 0: the pick at (5, 0, 2) is the
voxel ``tomogram[2, 0, 5]`` of an array with axes (z, y, x).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cryoreg.contracts import TiltAxis
from cryoreg.datasets.io import relion
from cryoreg.datasets.io.star_text import quoted, star_table
from cryoreg.datasets.particles import carried
from cryoreg.datasets.tomograms.kinds import ZARR
from cryoreg.datasets.tomograms.names import stem
from cryoreg.errors import ConfigError, DataError
from cryoreg.files import cell, write_text
from cryoreg.picking.pickers import DOG
from cryoreg.picking.picks import Picks

_FORMATS = (".star", ".csv")


def list_files(output: Path) -> tuple[Path, Path]:
    """Return the STAR file and the CSV file beside it; raise `ConfigError` for another ending."""
    if output.suffix.lower() not in _FORMATS:
        raise ConfigError(f"--output {output}: must end in .star; a .csv is written beside it")
    return output.with_suffix(".star"), output.with_suffix(".csv")


def check_names(paths: Sequence[Path]) -> None:
    """Raise `DataError` where two tomograms share a name, all that a list tells of them, or STAR cannot hold one."""
    seen: dict[str, Path] = {}
    for path in paths:
        quoted(name_of(path))
        quoted(str(path.absolute()))
        name = stem_of(name_of(path))
        if name in seen:
            raise DataError(f"{seen[name]} and {path} are both called '{name}'; pick them one by one")
        seen[name] = path


def name_of(path: Path) -> str:
    """Return what lists call a tomogram: the file's name, and for a level of an OME-Zarr image ``image.zarr/1``."""
    image = path.parent
    return f"{image.name}/{path.name}" if image.name.lower().endswith(ZARR) else path.name


def stem_of(name: str) -> str:
    """Return a name without its ending."""
    return stem(name.partition("/")[0])


def write_lists(
    found: Sequence[Picks],
    star: Path,
    csv: Path,
    tilt_range: tuple[float, float] | None = None,
    tilt_axis: TiltAxis | None = None,
) -> None:
    """Write all picks to both files, tomogram by tomogram, best first, with what is known of the tomograms."""
    known: dict[str, Any] = dict(zip(carried.TILTS, tilt_range or (), strict=False))
    known |= {carried.TILT_AXIS: tilt_axis} if tilt_axis else {}
    listed = particles(found).assign(**of_tomograms(found, star.parent), **known)
    blocks = {relion.OPTICS: optics(found), "particles": listed}
    write_text(star, "".join(star_table(name, block.to_dict("list")) for name, block in blocks.items()))
    rows = table(found, csv.parent).assign(**{carried.IN_TEXT[column]: value for column, value in known.items()})
    write_text(csv, rows.assign(tomogram=rows["tomogram"].map(cell)).to_csv(index=False, lineterminator="\n"))


def _in_text(path: Path, folder: Path) -> str:
    """Return how a text table in ``folder`` names a tomogram: by its file, always with the folder of that.

    A name alone would be that of any tomogram called so, once the table lies elsewhere or is merged with another.
    """
    name = carried.written(path, folder)
    return os.path.abspath(path) if name == name_of(path) else name


def optics(found: Sequence[Picks]) -> pd.DataFrame:
    """Return an optics group for each voxel size."""
    sizes = _voxel_sizes(found)
    numbers = range(1, len(sizes) + 1)
    return pd.DataFrame(
        {
            relion.GROUP: list(numbers),
            relion.OPTICS_NAME: [f"opticsGroup{number}" for number in numbers],
            relion.IMAGE_SIZES[0]: sizes,
            relion.MICROGRAPH_SIZE: sizes,
            relion.DIMENSIONALITY: 3,
        }
    )


def particles(found: Sequence[Picks]) -> pd.DataFrame:
    """Return RELION's columns of all picks."""
    rows = _columns(found)
    sizes = _voxel_sizes(found)
    groups = [[sizes.index(picks.voxel_size) + 1] * len(picks.positions) for picks in found]
    return pd.DataFrame(
        {
            relion.TOMOGRAM: [stem_of(name) for name in rows["tomogram"]],
            relion.MICROGRAPH: rows["tomogram"],
            **{column: rows[axis] for column, axis in zip(relion.COORDINATES, "xyz", strict=True)},
            relion.PICK_SCORE: rows["score"],
            relion.GROUP: np.concatenate([np.array(group, dtype=int) for group in groups]),
            **_marks(found, "cryoreg"),
        }
    )


def of_tomograms(found: Sequence[Picks], folder: Path) -> dict[str, list[object]]:
    """Return the columns of a STAR file in ``folder`` that say what is known of the tomograms of all picks."""
    return {
        relion.FILE: _spread(found, [carried.written(picks.path, folder) for picks in found]),
        carried.CONTRAST: _spread(found, [_contrast(picks) or carried.UNKNOWN for picks in found]),
        carried.VOXEL_SIZE: _spread(found, [picks.voxel_size for picks in found]),
    }


def _spread(found: Sequence[Picks], values: Sequence[object]) -> list[object]:
    return [value for picks, value in zip(found, values, strict=True) for _ in picks.positions]


def _contrast(picks: Picks) -> str | None:
    """Return how density looks, where that is certain."""
    return picks.verdict.contrast if picks.verdict.decided else None


def table(found: Sequence[Picks], folder: Path) -> pd.DataFrame:
    """Return our own columns of all picks: tomogram, x, y, z (voxels), score, dog, cc, voxel_size (Å), contrast.

    Tomograms are named for a table in ``folder``. Masks that mark add distance_NAME (Å, negative inside) and
    within_NAME.
    """
    names = [_in_text(picks.path, folder) for picks in found]
    return _columns(found).assign(tomogram=_spread(found, names))


def _columns(found: Sequence[Picks]) -> pd.DataFrame:
    return pd.concat([_rows(picks) for picks in found], ignore_index=True).assign(**_marks(found))


def _marks(found: Sequence[Picks], prefix: str = "") -> dict[str, list[str]]:
    """Return the columns of masks that mark."""
    columns = [[marks.columns(name, prefix) for name, marks in picks.marks.items()] for picks in found]
    merged = [{column: values for each in of_one for column, values in each.items()} for of_one in columns]
    return {column: [value for each in merged for value in each[column]] for column in (merged[0] if merged else {})}


def _rows(picks: Picks) -> pd.DataFrame:
    x, y, z = np.round(picks.positions, 2).T
    return pd.DataFrame(
        {
            "tomogram": name_of(picks.path),
            "x": x,
            "y": y,
            "z": z,
            "score": np.round(picks.scores.astype(float), 4),
            "dog": np.round(picks.dog.astype(float), 4) if picks.picker == DOG else np.nan,
            "cc": np.nan if picks.cc is None else np.round(picks.cc.astype(float), 4),
            "voxel_size": picks.voxel_size,
            "contrast": _contrast(picks),
        }
    )


def _voxel_sizes(found: Sequence[Picks]) -> list[float]:
    return sorted({picks.voxel_size for picks in found})
