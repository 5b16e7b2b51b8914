"""The ChimeraX script (https://www.rbvi.ucsf.edu/chimerax/docs/user): surfaces coloured by Grad-CAM, side by side."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from cryoreg.errors import ConfigError, DataError
from cryoreg.files import write_text
from cryoreg.outputs import check_file
from cryoreg_chimerax.pairs import Density, Pair, measure

PALETTE = "0,#3b4cc0:0.5,#dddddd:1,#b40426"
"""Grad-CAM from 0, blue, to its maximum of 1, red."""
GAP = 1.25
"""From one subtomogram to the next, in edges of the largest."""


def write_script(pairs: Sequence[Pair], output: Path, sigma: float = 2.0, overwrite: bool = False) -> Path:
    """Write a script that opens ``pairs`` side by side, contoured ``sigma`` standard deviations above their means.

    Raises `OutputError` where ``output`` exists, unless ``overwrite`` is set; `DataError` where a file is damaged;
    `ConfigError` where ``sigma`` is no number.
    """
    if not math.isfinite(sigma):
        raise ConfigError(f"--sigma {sigma}: is no level; give a number of standard deviations")
    check_file(output, overwrite, (file for pair in pairs for file in (pair.volume, pair.map)))
    if '"' in (away := os.path.relpath(pairs[0].volume.parent, output.parent)):
        raise DataError(f"{away}: ChimeraX would misread this path; rename the folder without quotes")
    write_text(output, chimerax_script(pairs, [measure(pair) for pair in pairs], Path(away), sigma))
    return output


def chimerax_script(pairs: Sequence[Pair], densities: Sequence[Density], folder: Path, sigma: float) -> str:
    """Return commands for a ChimeraX without models; ``folder`` holds the files, seen from the script.

    Pair number n is models 2n − 1, the subtomogram, and 2n, its Grad-CAM, which stays hidden and moves along. Labels
    come last: a ChimeraX that is too old to label models stops there, with all else done.
    """
    columns = math.ceil(math.sqrt(len(pairs)))
    step = GAP * max(density.extent for density in densities)
    lines = []
    for place, (pair, density) in enumerate(zip(pairs, densities, strict=True)):
        row, column = divmod(place, columns)
        lines += _opened(pair, folder)
        lines += _shown(2 * place + 1, density.mean + sigma * density.sd)
        lines += _moved(2 * place + 1, column * step, -row * step)
    labels = [f'label #{2 * place + 1} models text "{pair.id}: {pair.name}"' for place, pair in enumerate(pairs)]
    return "\n".join([*lines, "view", *labels, ""])


def _opened(pair: Pair, folder: Path) -> list[str]:
    names = {pair.volume: pair.id, pair.map: f"{pair.id}, Grad-CAM {pair.name}"}
    return [f'open "{(folder / path.name).as_posix()}" name "{name}"' for path, name in names.items()]


def _shown(model: int, level: float) -> list[str]:
    return [
        f"volume #{model} style surface step 1 level {level:.6g}",
        f"hide #{model + 1} models",
        f"color sample #{model} map #{model + 1} palette {PALETTE}",
    ]


def _moved(model: int, x: float, y: float) -> list[str]:
    """Return what moves a pair, in Å along the axes of the first model, which stays where it is."""
    return [
        f"move {axis} {distance:.6g} coordinateSystem #1 models #{model},{model + 1}"
        for axis, distance in (("x", x), ("y", y))
        if distance
    ]
