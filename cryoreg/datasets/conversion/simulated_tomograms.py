"""From structures and settings to a folder of simulated tomograms, with lists of what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cryoreg.contracts import Box
from cryoreg.datasets.io import relion
from cryoreg.datasets.io.mrc_writing import write_mrc
from cryoreg.datasets.io.star_text import star_table
from cryoreg.datasets.particles import carried
from cryoreg.files import cell, write_text
from cryoreg.outputs import check_folder, filling
from cryoreg.simulation.settings import SceneSettings
from cryoreg.simulation.structures import Structure
from cryoreg.simulation.tomogram import Tomogram, simulate_tomogram
from cryoreg.telling import track

STAR, CSV = "particles.star", "particles.csv"
_TOLD = {carried.IN_TEXT[carried.CONTRAST]: "bright", carried.IN_TEXT[carried.TILT_AXIS]: "y"}
"""What is so of every simulated tomogram."""


@dataclass(frozen=True)
class TomogramSet:
    """Some of an endless, numbered series of tomograms, all of one size."""

    structures: Sequence[Structure]
    settings: SceneSettings
    seed: int
    count: int
    shape: Box
    """(D, H, W), voxels."""
    particles: int
    """In each tomogram, of the structures in turn."""
    first: int = 0
    """The number of the first one; sets of one seed with other numbers share nothing but their structures."""

    def names(self) -> list[str]:
        """Return what the tomograms are called: TS_01, TS_02, ..."""
        last = self.first + self.count
        return [f"TS_{number:0{max(2, len(str(last)))}}" for number in range(self.first + 1, last + 1)]

    def tomograms(self) -> Iterator[Tomogram]:
        """Simulate one after another; raise `ConfigError` where particles find no room."""
        for number in range(self.first, self.first + self.count):
            yield simulate_tomogram(
                self.structures, self.shape, self.particles, self.settings, self.seed, number=number
            )


def write_tomograms(tomograms: TomogramSet, folder: Path, overwrite: bool = False) -> int:
    """Write NAME.mrc for each tomogram and lists of all particles, and return how many these are.

    particles.star and particles.csv tell tomogram, place (voxels, the first being 0) and class of each particle, and
    contrast, voxel size, tilt range and axis of the tomograms. The folder gets all of them or none. Raises a
    `CryoregError`, one line, where it is not empty, and where particles find no room.
    """
    check_folder(folder, overwrite)
    names = tomograms.names()
    made = track(tomograms.tomograms(), "simulating", len(names))
    with filling(folder) as part:
        rows = []
        for name, tomogram in zip(names, made, strict=True):
            write_mrc(part / f"{name}.mrc", tomogram.volume, tomograms.settings.voxel_size)
            rows.append(_rows(name, tomogram, tomograms))
        listed = pd.concat(rows, ignore_index=True)
        write_text(part / STAR, _star(listed))
        write_text(part / CSV, listed.assign(**{"class": listed["class"].map(cell)}).to_csv(index=False))
    return len(listed)


def _rows(name: str, tomogram: Tomogram, tomograms: TomogramSet) -> pd.DataFrame:
    settings = tomograms.settings
    x, y, z = np.round(tomogram.positions, 3).T
    return pd.DataFrame(
        {
            "tomogram": f"{name}.mrc",
            "x": x,
            "y": y,
            "z": z,
            "class": [tomograms.structures[label].name for label in tomogram.labels],
            "voxel_size": settings.voxel_size,
            **_TOLD,
            **{carried.IN_TEXT[column]: tilt for column, tilt in zip(carried.TILTS, settings.tilt, strict=True)},
        }
    )


def _star(listed: pd.DataFrame) -> str:
    size = float(listed["voxel_size"].iloc[0])
    optics: dict[str, Iterable[str | float]] = {
        relion.GROUP: [1],
        relion.OPTICS_NAME: ["opticsGroup1"],
        relion.IMAGE_SIZES[0]: [size],
        relion.MICROGRAPH_SIZE: [size],
        relion.DIMENSIONALITY: [3],
    }
    particles: dict[str, Iterable[str | float]] = {
        relion.FILE: listed["tomogram"],
        carried.VOXEL_SIZE: listed["voxel_size"],
        **{column: listed[name] for column, name in carried.IN_TEXT.items()},
        relion.TOMOGRAM: [name.removesuffix(".mrc") for name in listed["tomogram"]],
        relion.MICROGRAPH: listed["tomogram"],
        **{column: listed[axis] for column, axis in zip(relion.COORDINATES, "xyz", strict=True)},
        "class": listed["class"],
        relion.GROUP: [1] * len(listed),
    }
    return star_table(relion.OPTICS, optics) + star_table("particles", particles)
