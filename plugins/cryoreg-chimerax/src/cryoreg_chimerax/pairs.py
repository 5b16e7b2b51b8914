"""Subtomograms and their Grad-CAMs, as `cryoreg explain` names them: ``ID.mrc`` and ``ID_gradcam_CLASS.mrc``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import mrcfile
import numpy as np

from cryoreg.errors import DataError

RANDOM = "random"
"""What `cryoreg explain --random` calls the Grad-CAM of an encoder that learnt nothing."""
_MAP = re.compile(r"(?P<id>.+)_gradcam_(?P<name>.+)\.mrc")
_MISREAD = re.compile(r'["*?\[\]\x00-\x1f]')
"""What ChimeraX takes for the end of a name, or a pattern."""


class Pair(NamedTuple):
    """A subtomogram and what colours it."""

    id: str
    volume: Path
    map: Path
    name: str
    """The class that the map explains, or "features" or "random"."""


class Density(NamedTuple):
    """What a script needs to know of a volume."""

    mean: float
    sd: float
    extent: float
    """Its longest edge in Å, or in voxels where their size is not known: ChimeraX then takes them for 1 Å."""


def find_pairs(folder: Path, name: str | None = None) -> list[Pair]:
    """Return the subtomograms of a folder, each with its Grad-CAM called ``name``, or with the only trained one.

    Raises `DataError` where there are none, a file is missing, or it is not clear which map is meant.
    """
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*.mrc")):
        if match := _MAP.fullmatch(path.name):
            found.setdefault(match["id"], {})[match["name"]] = path
    if not found:
        raise DataError(
            f"{folder}: holds no Grad-CAM (ID_gradcam_CLASS.mrc); write some: cryoreg explain RUN --output {folder}"
        )
    return [_pair(folder, each, maps, name) for each, maps in found.items()]


def _pair(folder: Path, identifier: str, maps: Mapping[str, Path], name: str | None) -> Pair:
    chosen = _choose(folder / identifier, maps, name)
    pair = Pair(identifier, folder / f"{identifier}.mrc", maps[chosen], chosen)
    if not pair.volume.is_file():
        raise DataError(f"{pair.map}: has no subtomogram {pair.volume.name} beside it; explain it again")
    if _MISREAD.search(identifier + chosen):
        raise DataError(f"{pair.map}: ChimeraX would misread this name; rename it without quotes, brackets, * and ?")
    return pair


def _choose(stem: Path, maps: Mapping[str, Path], name: str | None) -> str:
    if name is not None and name not in maps:
        raise DataError(f"{stem}: has no Grad-CAM '{name}' (it has: {', '.join(maps)}); choose another --map")
    trained = [each for each in maps if each != RANDOM] or [RANDOM]
    if name is None and len(trained) > 1:
        raise DataError(f"{stem}: has several Grad-CAMs ({', '.join(trained)}); choose one with --map")
    return name or trained[0]


def measure(pair: Pair) -> Density:
    """Read both files of a pair; raise `DataError` where one cannot be read or they differ in shape."""
    (volume, edge), (map_, _) = _read(pair.volume), _read(pair.map)
    if volume.shape != map_.shape:
        raise DataError(
            f"{pair.map}: has {_times(map_.shape)} voxels, {pair.volume.name} {_times(volume.shape)}; explain it again"
        )
    return Density(float(volume.mean()), float(volume.std()), max(volume.shape) * (edge or 1.0))


def _read(path: Path) -> tuple[np.ndarray, float]:
    """Return voxels (D, H, W), float32, and their edge in Å."""
    try:
        with mrcfile.open(path, mode="r") as file:
            data, edge = np.asarray(file.data, np.float32), float(file.voxel_size.x)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())}); explain it again") from None
    if data.ndim != 3 or not np.isfinite(data).all() or not math.isfinite(edge):
        raise DataError(f"{path}: is no volume of finite voxels; explain it again")
    return data, edge


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
